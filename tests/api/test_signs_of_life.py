"""Silence upstream is filled with signs of life, and an upstream that stays silent is given up."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, asking
from tests.support.places import Member, serving
from tests.support.processes import until
from tests.support.scenes import bash, calls, fails, says, scene

SCENES = [
    scene(
        "wait for me",
        calls({"text": "I begin."}, bash("echo once >> count; until [ -e go ]; do sleep 0.05; done; cat count")),
        says("counted ${last_tool_result}"),
    ),
    scene("slow start", says("here at last", pace={"first_ms": 900})),
    scene("slow middle", says("here at last", pace={"between_ms": 400, "pieces": 1})),
    scene("slow refusal", {"blocks": [{"text": "never"}], "pace": {"first_ms": 900}, "fault": {"status": 429}}),
    scene("never answers", fails(stall=True)),
    scene("falls silent", fails(stall=True, after_events=3)),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    """Impatient: it gives signs of life soon and does not wait long for an upstream."""
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_HEARTBEAT_SECONDS": "0.25",
        "BULKHEAD_UPSTREAM_TIMEOUT_SECONDS": "2",
    }
    with serving(tmp_path_factory.mktemp("gateway"), upstream_url, **variables) as running:
        yield running


def test_a_stream_begins_before_a_slow_upstream_does(member: Member) -> None:
    answer = member.caller.ask(asking("slow start", stream=True))
    assert [event for event, _ in answer.events].count("message_start") == 1
    assert answer.texts == ["here at last"]
    assert answer.message["stop_reason"] == "end_turn"


def test_silence_inside_a_block_is_filled_with_empty_deltas(member: Member) -> None:
    answer = member.caller.ask(asking("slow middle", stream=True))
    deltas = [data["delta"]["text"] for name, data in answer.events if name == "content_block_delta"]
    assert "" in deltas
    assert answer.texts == ["here at last"]


def test_a_whole_answer_is_kept_alive_by_spaces_and_stays_json(member: Member) -> None:
    answer = member.caller.ask(asking("slow start"))
    assert answer.body.startswith(b" ")
    assert (answer.status, answer.texts) == (200, ["here at last"])


def test_a_refusal_after_signs_of_life_is_still_an_error(member: Member) -> None:
    streamed = member.caller.ask(asking("slow refusal", stream=True))
    assert [event for event, _ in streamed.events][-1] == "error"
    assert streamed.error["type"] == "rate_limit_error"
    whole = member.caller.ask(asking("slow refusal"))
    assert whole.body.startswith(b" ")
    assert (whole.message["type"], whole.error["type"]) == ("error", "rate_limit_error")


@pytest.mark.parametrize("prompt", ["never answers", "falls silent"])
def test_an_upstream_that_falls_silent_is_given_up(prompt: str, member: Member) -> None:
    streamed = member.caller.ask(asking(prompt, stream=True))
    assert [event for event, _ in streamed.events][-1] == "error"
    assert streamed.error["type"] == "timeout_error"
    whole = member.caller.ask(asking(prompt, BASH))
    assert whole.error["type"] == "timeout_error"


def test_signs_of_life_come_while_nothing_else_does(member: Member) -> None:
    """Seen from the client: events come though the upstream has said nothing and never will."""
    with member.caller.live(asking("never answers")) as answer:
        answer.until("message_delta")
        assert answer.names[:2] == ["message_start", "message_delta"]


def test_a_whole_request_joins_the_turn_that_a_stream_began(member: Member, gateway: Gateway) -> None:
    """The client's silent second request, while the call still runs: its first space shows that it was taken."""
    body = asking("wait for me", BASH)
    with member.caller.live(body) as streamed:
        streamed.until("content_block_stop")
        until(lambda: (member.workspace / "count").exists(), "the call to begin")
        with member.caller.streaming(body) as response:
            whole = response.iter_raw()
            space = next(whole)
            (member.workspace / "go").touch()
            rest = b"".join(whole)
        last = streamed.finish().texts[-1]
    assert space.strip() == b""
    assert json.loads(rest)["content"][-1]["text"] == last == "counted once"
    assert len(gateway.events("turn.start", member.subject)) == 1
