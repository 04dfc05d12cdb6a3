"""What becomes of a forwarded request when its upstream is silent, refuses, breaks off, or its client leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.canned_upstream import Canned, CannedUpstream, event, streamed, whole
from tests.support.forwarding import GATEWAY_VARIABLES, canned, gateway, member, plain_answers, post
from tests.support.gateway import Gateway
from tests.support.messages_api import answer_of, asking, events_of
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.raw_post import raw_post

__all__ = ["canned", "gateway", "member", "plain_answers"]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream) -> Iterator[Gateway]:
    variables = {**GATEWAY_VARIABLES, "BULKHEAD_HEARTBEAT_SECONDS": "0.1", "BULKHEAD_UPSTREAM_TIMEOUT_SECONDS": "2"}
    with serving(tmp_path_factory.mktemp("impatient"), canned.url, **variables) as running:
        yield running


# -- silence


def test_a_silent_upstream_is_bridged_on_a_stream(impatient: Gateway, canned: CannedUpstream) -> None:
    """Before its head, and in the middle of a block."""
    member = join(impatient, session=None)
    for held in ("head", "gate"):
        gate = threading.Event()
        waits: Json = {"head": gate} if held == "head" else {"gate": gate, "at": 3}
        canned.answers = {"": Canned(streamed("Hello."), **waits)}
        beat, count = ("message_delta", 1) if held == "head" else ("content_block_delta", 2)
        with member.caller.streaming(asking("hello", stream=True)) as response:
            pieces, seen = response.iter_raw(), b""
            while [name for name, _ in events_of(seen)].count(beat) < count:
                seen += next(pieces)
            gate.set()
            done = answer_of(200, response.headers, seen + b"".join(pieces))
        assert [name for name, _ in done.events].count("message_start") == 1
        assert (done.texts, done.message["stop_reason"]) == (["Hello."], "end_turn")
        assert done.events[-1][0] == "message_stop"
        assert done.message["usage"]["output_tokens"] == 7


def test_a_silent_upstream_is_bridged_on_a_whole_answer(impatient: Gateway, canned: CannedUpstream) -> None:
    member = join(impatient, session=None)
    gate = threading.Event()
    canned.answer = Canned([whole("Hello.")], content_type="application/json", head=gate)
    with member.caller.streaming(asking("hello")) as response:
        pieces = response.iter_raw()
        assert next(pieces).strip() == b""
        gate.set()
        rest = b"".join(pieces)
    assert (response.status_code, json.loads(rest)) == (200, json.loads(whole("Hello.")))


def test_an_upstream_that_stays_silent_is_given_up(impatient: Gateway, canned: CannedUpstream) -> None:
    member = join(impatient, session=None)
    never = threading.Event()
    canned.answers = {"in the middle": Canned(streamed("Hello."), gate=never, at=3)}
    canned.answer = Canned([b""], head=never)
    for prompt in ("at once", "in the middle"):
        streamed_answer = member.caller.ask(asking(prompt, stream=True))
        assert streamed_answer.events[-1][0] == "error"
        assert streamed_answer.error["type"] == "timeout_error"
    answer = member.caller.ask(asking("at once"))
    assert (answer.message["type"], answer.error["type"]) == ("error", "timeout_error")
    until(lambda: all(one.left.is_set() for one in canned.seen), "the upstream's connections to be closed")


# -- errors


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and what the client is told: by status where nothing has begun, else by an event."""

    answer: Canned
    status: int
    type: str
    words: str = ""


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


HELLO = streamed("Hello.")
JSON = "application/json"
BEFORE: dict[str, Trouble] = {
    "refused": Trouble(Canned([error("invalid_request_error", "max_tokens: too large")], 400, JSON), 400,
                       "invalid_request_error", "max_tokens: too large"),
    "our credential": Trouble(Canned([error("authentication_error", "invalid x-api-key")], 401, JSON), 500,
                              "api_error", "credential was refused by its upstream"),
    "no permission": Trouble(Canned([error("permission_error", "not yours")], 403, JSON), 500, "api_error"),
    "no such model": Trouble(Canned([error("not_found_error", "model: claude-test")], 404, JSON), 404,
                             "not_found_error", "claude-test"),
    "too large": Trouble(Canned([error("request_too_large", "Request exceeds the maximum size")], 413, JSON), 413,
                         "request_too_large"),
    "too fast": Trouble(Canned([error("rate_limit_error", "slow down")], 429, JSON, {"retry-after": "7"}), 429,
                        "rate_limit_error", "slow down"),
    "overloaded": Trouble(Canned([error("overloaded_error", "Overloaded")], 529, JSON), 529, "overloaded_error"),
    "front door": Trouble(Canned([b"<html>bad gateway</html>"], 502, "text/html"), 502, "api_error"),
    "front door that says 200": Trouble(Canned([b"<html>log in</html>"], 200, "text/html"), 502, "api_error"),
    "error under 200": Trouble(Canned([error("overloaded_error", "Overloaded")], 200, JSON), 529, "overloaded_error"),
    "nothing under 200": Trouble(Canned([], 200, JSON), 502, "api_error"),
    "cut in its first piece": Trouble(Canned([b"event: mess"], cut=True), 502, "api_error"),
    "error as the first event": Trouble(Canned([event("error", error("overloaded_error", "no").decode())]), 529,
                                        "overloaded_error"),
}  # fmt: skip
AFTER: dict[str, Trouble] = {
    "cut": Trouble(Canned(HELLO[:3], cut=True), 200, "api_error", "broke off"),
    "ended early": Trouble(Canned(HELLO[:3]), 200, "api_error", "broke off"),
    "ended in an event": Trouble(Canned([*HELLO[:3], HELLO[3][:30]]), 200, "api_error", "broke off"),
    "error event": Trouble(
        Canned([*HELLO[:3], event("error", error("overloaded_error", "Overloaded").decode())]), 200, "overloaded_error"
    ),
    "no JSON": Trouble(Canned([*HELLO[:3], event("content_block_delta", '{"type": ')]), 200, "api_error"),
    "a second beginning": Trouble(Canned([*HELLO[:3], HELLO[0]]), 200, "api_error"),
    "a delta of no block": Trouble(Canned([HELLO[0], HELLO[2]]), 200, "api_error"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", BEFORE)
def test_trouble_before_the_first_byte_has_a_status(
    case: str, stream: bool, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    trouble = BEFORE[case]
    canned.answers = {"": trouble.answer}
    answer = post(member, json.dumps(asking("hello", stream=stream)).encode())
    assert (answer.status, answer.error["type"]) == (trouble.status, trouble.type)
    assert trouble.words in answer.error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("retry-after") == ("7" if case == "too fast" else None)
    if trouble.status == 500:
        assert answer.headers["x-should-retry"] == "false"
    assert gateway.event("model.result", member.subject)["error"]


@pytest.mark.parametrize("case", AFTER)
def test_trouble_after_the_first_byte_is_the_last_event(
    case: str, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    trouble = AFTER[case]
    canned.answers = {"": trouble.answer}
    answer = post(member, json.dumps(asking("hello", stream=True)).encode())
    assert answer.status == 200
    assert [name for name, _ in answer.events].count("error") == 1
    assert answer.events[-1][0] == "error"
    assert answer.error["type"] == trouble.type
    assert trouble.words in answer.error["message"]
    assert answer.events[-1][1]["request_id"] == answer.headers["request-id"]
    noted = gateway.event("model.result", member.subject)
    assert noted["error"] and noted["input_tokens"] == 11


def test_what_comes_after_the_end_is_not_passed_on(member: Member, canned: CannedUpstream) -> None:
    canned.answers = {"": Canned([*HELLO, *HELLO])}
    assert post(member, json.dumps(asking("hello", stream=True)).encode()).body == b"".join(HELLO)


@pytest.mark.parametrize("held", ["before the first byte", "in the middle"])
def test_a_client_that_leaves_ends_the_upstreams_work(
    held: str, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    gate = threading.Event()
    waits: Json = {"head": gate} if held.startswith("before") else {"gate": gate, "at": 3}
    canned.answers = {"": Canned(HELLO, **waits)}

    with raw_post(member.caller, asking("hello", stream=True)) as connection:
        if held == "in the middle":
            assert connection.recv(1)
        until(lambda: canned.seen, "the request upstream")
    until(lambda: canned.seen[-1].left.is_set(), "the upstream's connection to be closed")
    ended = gateway.event("model.result", member.subject)
    assert ended["error"] == "the client left"
