"""A turn posted twice is one turn: it is joined, replayed or resumed, and no call runs twice."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join
from tests.support.processes import until
from tests.support.scenes import bash, calls, says, scene
from tests.support.scripted import ScriptedUpstream

ONCE = bash("echo once >> count; until [ -e go ]; do sleep 0.05; done; cat count")

TRIPS = {"refused": {"status": 400}, "broken off": {"error_event": {}, "after_events": 3}}

SCENES = [
    scene("wait for me", calls({"text": "I begin."}, ONCE), says("counted ${last_tool_result}")),
    *(
        scene(f"{name}, {how}", calls(bash("echo once >> count")), says("over", fault={**fault, "attempts": 1}))
        for name, fault in TRIPS.items()
        for how in ("stream", "whole")
    ),
    scene(
        "sleep long",
        calls(bash("echo $$ > pid; trap '' TERM; (setsid sleep 306 &); sleep 307")),
        says("never"),
    ),
]


def posted(member: Member, stream: bool = False, prompt: str = "wait for me") -> Answer:
    return member.caller.ask(asking(prompt, BASH, stream=stream))


def begun(member: Member) -> None:
    until(lambda: (member.workspace / "count").exists(), "the call to begin")


def let_go(member: Member) -> None:
    (member.workspace / "go").touch()


def test_a_turn_posted_again_while_it_runs_is_joined(member: Member, gateway: Gateway) -> None:
    body = asking("wait for me", BASH)
    with member.caller.live(body) as first, member.caller.live(body) as second:
        first.until("content_block_stop")
        begun(member)
        second.until("content_block_stop")
        let_go(member)
        answers = [first.finish(), second.finish()]
    assert [answer.texts for answer in answers] == [["I begin.", "counted once"]] * 2
    assert (member.workspace / "count").read_text() == "once\n"
    assert len(gateway.events("turn.start", member.subject)) == 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_turn_whose_delivery_broke_is_replayed_whole(
    stream: bool, member: Member, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """The client goes while the call runs; the turn ends within the grace and waits to be asked for."""
    asked = len(upstream.asked("wait for me"))
    with member.caller.live(asking("wait for me", BASH)) as answer:
        answer.until("content_block_stop")
        begun(member)
    let_go(member)
    gateway.event("turn.end", member.subject, error=None)
    assert posted(member, stream).texts == ["I begin.", "counted once"]
    assert (member.workspace / "count").read_text() == "once\n"
    assert len(upstream.asked("wait for me")) == asked + 2
    assert len(gateway.events("turn.start", member.subject)) == 1


def test_a_turn_that_was_delivered_is_a_new_one_when_it_is_asked_again(member: Member) -> None:
    let_go(member)
    assert posted(member).texts[-1] == "counted once"
    assert posted(member).texts[-1] == "counted once\nonce"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("trip", TRIPS)
def test_a_turn_that_the_upstream_broke_goes_on_after_its_finished_calls(
    trip: str, stream: bool, member: Member, gateway: Gateway
) -> None:
    prompt = f"{trip}, {'stream' if stream else 'whole'}"
    broken = posted(member, stream, prompt)
    assert broken.error["type"] == ("invalid_request_error" if trip == "refused" else "overloaded_error")
    answer = posted(member, False, prompt)
    assert [block["type"] for block in answer.blocks] == ["server_tool_use", "code_execution_tool_result", "text"]
    assert answer.texts == ["over"]
    assert (member.workspace / "count").read_text() == "once\n"
    assert gateway.event("turn.start", member.subject, resumed_steps=1)
    assert len(gateway.events("tool.intent", member.subject)) == 1


def test_the_same_request_of_another_subject_or_session_is_another_turn(gateway: Gateway, member: Member) -> None:
    other = join(gateway)
    elsewhere = replace(member.caller, session="two")
    for place in (member, other):
        let_go(place)
    assert posted(member).texts[-1] == posted(other).texts[-1] == "counted once"
    assert elsewhere.ask(asking("wait for me", BASH)).texts[-1] == "counted once\nonce"
    assert len(gateway.events("session.opened", member.subject)) == 2


def test_a_request_that_names_no_session_is_never_joined(member: Member, gateway: Gateway) -> None:
    nameless = replace(member, caller=replace(member.caller, session=None))
    let_go(member)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(posted, nameless) for _ in range(2)]:
            assert done.result().message["stop_reason"] == "end_turn"
    assert (member.workspace / "count").read_text() == "once\nonce\n"
    assert len(gateway.events("turn.start", member.subject)) == 2


def sleepers(workspace: Path) -> list[str]:
    """The commands that the call started and that still run, as the host sees them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command in ("sleep 306", "sleep 307") and str(workspace) in _directory(place):
            found.append(command)
    return sorted(found)


def _directory(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_goes_ends_its_call_with_everything_it_started(
    stream: bool, member: Member, gateway: Gateway
) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port or 0)) as connection:
        request = httpx.Request(
            "POST",
            f"{gateway.url}/v1/messages",
            json=asking("sleep long", BASH, stream=stream),
            headers=member.caller.headers(),
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        connection.sendall(f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        until(lambda: sleepers(member.workspace) == ["sleep 306", "sleep 307"], "the call to run")
    ended = gateway.event("tool.result", member.subject)
    assert ended["outcome"] == "cancelled"
    until(lambda: not sleepers(member.workspace), "the end of everything it had started", 20)
    assert gateway.event("turn.end", member.subject)["error"] == "api_error: The turn was cancelled."
    assert len(gateway.events("session.close", member.subject)) == 0, "the session stays for the next turn"
