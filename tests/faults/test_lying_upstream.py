"""An upstream that lies about what it counted, or never comes to an end: bounded in time and memory, told as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile_answers import Json, event, messages_call, messages_text
from tests.support.hostile_checks import check_answer
from tests.support.messages_api import BASH, asking
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.raw_fixtures import raw, upstream, upstream_url
from tests.support.raw_upstream import Again, Pause, RawUpstream, chunk, chunked, with_length

__all__ = ["raw", "upstream", "upstream_url"]

TURN_SECONDS = 3
MIB = 1024 * 1024

BEGUN = chunked(messages_text()[:7], end=False)
DELTA = event("content_block_delta", index=1, delta={"type": "text_delta", "text": "more "})
REST = b"".join(messages_text()[-3:])

LIES: dict[str, Json] = {
    "negative": {"input_tokens": -9, "output_tokens": -1},
    "huge": {"input_tokens": 10**30, "output_tokens": 2**64},
    "fractions": {"input_tokens": 1.5, "output_tokens": 1e300},
    "texts": {"input_tokens": "nine", "output_tokens": "many"},
    "objects": {"input_tokens": {"a": 1}, "output_tokens": [1], "cache_creation": 5, "server_tool_use": "x"},
    "truths": {"input_tokens": True, "output_tokens": False},
    "nothing": {},
    "nulls": {"input_tokens": None, "output_tokens": None},
}

each_way = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, raw: RawUpstream) -> Iterator[Gateway]:
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_MAX_TURN_SECONDS": str(TURN_SECONDS),
        "BULKHEAD_HEARTBEAT_SECONDS": "0.5",
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "0",
        "BULKHEAD_KEY_CONCURRENT_REQUESTS": "1",
    }
    with serving(tmp_path_factory.mktemp("gateway"), raw.url, **variables) as running:
        yield running


@pytest.fixture
def member(gateway: Gateway) -> Member:
    return join(gateway)


def lying(events: list[bytes], usage: Json) -> bytes:
    reason = "tool_use" if b"tool_use" in events[-2] else "end_turn"
    told = event("message_delta", delta={"stop_reason": reason}, usage=usage)
    message: dict[str, Any] = {"id": "msg_up", "type": "message", "role": "assistant", "model": "m", "content": []}
    start = event("message_start", message={**message, "usage": usage})
    return chunked([start, *events[1:-2], told, events[-1]])


@each_way
@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "with tools"])
@pytest.mark.parametrize("lie", LIES)
def test_lies_about_usage_change_nothing_but_the_figures(
    lie: str,
    tools: tuple[Json, ...],
    stream: bool,
    raw: RawUpstream,
    gateway: Gateway,
    member: Member,
) -> None:
    usage = LIES[lie]
    message = {"id": "msg_up", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    whole = {**message, "content": [{"type": "text", "text": "words"}], "usage": usage}
    if tools:
        raw.play(
            (lying(messages_call("Bash", {"command": "echo ran >> count"}), usage),),
            (lying(messages_text("words"), usage),),
        )
    elif stream:
        raw.play((lying(messages_text("words"), usage),))
    else:
        raw.play((with_length(_json(whole), 200, "application/json"),))
    answer = member.caller.ask(asking(lie, *tools, stream=stream))
    seen = check_answer(
        answer.status, answer.headers, answer.body, stream=stream, model="claude-test", hidden=["upstream-secret"]
    )
    assert seen == ("message_stop" if stream else "message")
    assert answer.texts[-1] == "words"
    assert gateway.event("turn.end" if tools else "model.result", member.subject)["error"] is None
    used = member.caller.request("GET", "/api/usage")
    assert used.status_code == 200
    raw.play((chunked(messages_text("still here")),))
    assert member.caller.ask(asking("afterwards", stream=True)).texts == ["still here"]


def _json(value: Json) -> bytes:
    return json.dumps(value).encode()


@each_way
@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "with tools"])
def test_an_upstream_that_never_ends_is_ended(
    tools: tuple[Json, ...], stream: bool, raw: RawUpstream, gateway: Gateway, member: Member
) -> None:
    """It would, long after the limit; it sends all the time, and too little to meet any other limit."""
    slowly = [step for _ in range(200) for step in (chunk(DELTA), Pause(0.05))]
    raw.play((BEGUN, *slowly, chunk(REST) + b"0\r\n\r\n"))
    answer = member.caller.ask(asking("endless", *tools, stream=stream))
    seen = check_answer(answer.status, answer.headers, answer.body, stream=stream, model="claude-test", hidden=[])
    if tools:
        assert seen == ("message_stop" if stream else "message")
        assert answer.texts[-1].startswith("[Bulkhead]")
    else:
        assert (seen, answer.error["type"]) == ("error", "timeout_error")
    until(lambda: raw.playing == 0, "the upstream to be left", 15)
    raw.play((chunked(messages_text("still here")),))
    assert member.caller.ask(asking("afterwards", stream=True)).texts == ["still here"]


def test_a_client_that_reads_nothing_of_an_endless_answer_is_given_up(
    raw: RawUpstream, gateway: Gateway, member: Member
) -> None:
    """It stays connected. Its key has room for one request, which is free again before long."""
    raw.play((BEGUN, Again(chunk(DELTA * 100))))
    with member.caller.streaming(asking("deaf", stream=True)) as deaf:
        assert deaf.status_code == 200
        until(lambda: raw.playing == 0, "the upstream to be left", TURN_SECONDS + 15)
        raw.play((chunked(messages_text("still here")),))

        def served() -> bool:
            return member.caller.ask(asking("afterwards", stream=True)).status == 200

        until(served, "the request to be given up", 30)


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_very_long_stream_is_forwarded_in_flat_memory(raw: RawUpstream, gateway: Gateway, member: Member) -> None:
    raw.play((chunked(messages_text()),))
    member.caller.ask(asking("warm", stream=True))
    before = rss_mib(gateway.process.pid)
    raw.play((BEGUN, Again(chunk(DELTA), 100_000), chunk(REST) + b"0\r\n\r\n"))
    most, size, end = before, 0, b""
    with member.caller.streaming(asking("long", stream=True)) as response:
        for at, piece in enumerate(response.iter_raw()):
            size += len(piece)
            end = (end + piece)[-200:]
            if at % 100 == 0:
                most = max(most, rss_mib(gateway.process.pid))
    assert b"message_stop" in end
    assert size > 100_000 * len(DELTA)
    assert max(most, rss_mib(gateway.process.pid)) - before < 6
