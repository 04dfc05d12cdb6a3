"""The tap: what passes is what came, cut anywhere and spelled any way; what is broken never ends well."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages import jsonbytes
from gateway.messages.assemble import Assembler
from gateway.messages.events import Event, encode_event
from gateway.messages.grammar import Grammar
from gateway.messages.replay import message_events
from gateway.messages.sse_reader import SseDecoder
from gateway.relay.tap import StreamTap

Json = dict[str, Any]

TEXT = st.text(max_size=40)
BLOCKS = st.one_of(
    TEXT.map(lambda text: {"type": "text", "text": text}),
    TEXT.map(lambda text: {"type": "thinking", "thinking": text, "signature": "c2ln"}),
    st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-9, 9)), max_size=3).map(
        lambda value: {"type": "tool_use", "id": "toolu_1", "name": "look", "input": value}
    ),
    TEXT.map(lambda text: {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"t": text}]}),
)
MESSAGES = st.lists(BLOCKS, max_size=4).map(
    lambda blocks: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": blocks,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 34},
    }
)


def stream_of(message: Json) -> list[Event]:
    return list(message_events(message, pieces=4))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    points = sorted({place % (len(data) + 1) for place in places})
    return [data[begin:end] for begin, end in zip([0, *points], [*points, len(data)], strict=True)]


def tapped(pieces: list[bytes], model: str = "claude-x") -> tuple[StreamTap, bytes]:
    tap = StreamTap(model)
    return tap, b"".join([*(tap.feed(piece) for piece in pieces), tap.close()])


def assembled(data: bytes) -> Json:
    message, grammar = Assembler(), Grammar()
    decoder = SseDecoder()
    for event in [*decoder.feed(data), *decoder.close()]:
        grammar.check(event)
        message.feed(event)
    return message.message


def respelled(event: Event, way: str) -> bytes:
    data = jsonbytes.encode(event.data)
    match way:
        case "crlf":
            return encode_event(event).replace(b"\n", b"\r\n")
        case "comment":
            return b": still here\n\n" + encode_event(event)
        case "data only":
            return b"data: " + data + b"\n\n"
        case "no space":
            return b"event:" + event.name.encode() + b"\ndata:" + data + b"\n\n"
        case "padded":
            return encode_event(event).replace(b"}\n\n", b"   }\n\n")
        case _:
            return b"id: 7\n" + encode_event(event)


WAYS = st.sampled_from(["crlf", "comment", "data only", "no space", "padded", "id"])


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_passes_byte_for_byte_however_it_is_cut(message: Json, places: list[int]) -> None:
    data = b"".join(encode_event(event) for event in stream_of(message))
    tap, passed = tapped(cut(data, places))
    assert passed == data
    assert (tap.finished, tap.usage, tap.stop_reason) == (True, message["usage"], "end_turn")


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=12), st.lists(WAYS, min_size=1, max_size=5))
def test_any_spelling_of_a_stream_arrives_as_the_same_message(
    message: Json, places: list[int], ways: list[str]
) -> None:
    events = stream_of(message)
    data = b"".join(respelled(event, ways[at % len(ways)]) for at, event in enumerate(events))
    tap, passed = tapped(cut(data, places))
    assert tap.finished
    assert assembled(passed)["content"] == message["content"]


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.integers(0, 10_000), st.lists(st.integers(0, 10_000), max_size=5))
def test_a_stream_cut_short_is_never_finished_and_ends_between_events(
    message: Json, end: int, places: list[int]
) -> None:
    data = b"".join(encode_event(event) for event in stream_of(message))
    data = data[: end % (len(data) - 1)]
    tap = StreamTap("claude-x")
    passed = b"".join(tap.feed(piece) for piece in cut(data, places))
    assert data.startswith(passed)
    assert passed == b"" or passed.endswith(b"\n\n")
    assert not tap.finished


@settings(max_examples=100, deadline=None)
@given(MESSAGES, st.data())
def test_events_out_of_order_never_pass(message: Json, data: st.DataObject) -> None:
    events = stream_of(message)
    at = data.draw(st.integers(0, len(events) - 1))
    events.insert(data.draw(st.integers(0, len(events))), events[at])
    tap, grammar = StreamTap("claude-x"), Grammar()
    passed = b"".join(tap.feed(encode_event(event)) for event in events)
    assert tap.over
    decoder = SseDecoder()
    for event in decoder.feed(passed):
        grammar.check(event)


def test_the_client_is_told_the_name_it_asked_for() -> None:
    message = {"model": "upstream-name", "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 5}}
    data = b"".join(encode_event(event) for event in stream_of(message))
    tap, passed = tapped([data], model="claude-alias")
    assert assembled(passed)["model"] == "claude-alias"
    assert tap.answered_model == "upstream-name"
    assert passed.partition(b"\n\n")[2] == data.partition(b"\n\n")[2]


def test_an_error_event_is_kept_from_the_client_and_given_to_the_caller() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
    data = b"".join(encode_event(event) for event in stream_of({"model": "claude-x", "content": []})[:1])
    tap, passed = tapped([data + error + b"event: ping\ndata: {}\n\n"])
    assert passed == data
    assert tap.failed is not None
    assert tap.failed["error"]["type"] == "overloaded_error"
    assert not tap.finished


@pytest.mark.parametrize(
    "rubbish",
    [
        b"event: content_block_delta\ndata: {not json\n\n",
        b"event: content_block_start\ndata: []\n\n",
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        b"<html>\n\n",
    ],
)
def test_rubbish_breaks_the_stream_or_says_nothing(rubbish: bytes) -> None:
    tap = StreamTap("claude-x")
    assert tap.feed(rubbish) == b""
    assert not tap.finished


def test_what_came_before_rubbish_still_passes() -> None:
    events = stream_of({"model": "claude-x", "content": [{"type": "text", "text": "so far"}]})[:3]
    good = b"".join(encode_event(event) for event in events)
    tap = StreamTap("claude-x")
    assert tap.feed(good + b"event: content_block_stop\ndata: {nonsense\n\n") == good
    assert tap.broken is not None
    assert tap.feed(good) == tap.close() == b""


def test_signs_of_life_are_legal_wherever_they_fall() -> None:
    message = {
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "a b"},
            {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1}},
        ],
    }
    tap = StreamTap("claude-x")
    passed = b""
    for event in stream_of(message):
        passed += tap.heartbeat() if tap.started else b""
        passed += tap.feed(encode_event(event))
    assert tap.heartbeat() == b""
    assert assembled(passed)["content"] == message["content"]


def test_an_own_start_stands_for_the_upstreams() -> None:
    events = stream_of(
        {"model": "claude-x", "content": [{"type": "text", "text": "late"}], "usage": {"input_tokens": 3}}
    )
    tap = StreamTap("claude-x")
    passed = tap.heartbeat() + tap.heartbeat()
    passed += b"".join(tap.feed(encode_event(event)) for event in events)
    told = assembled(passed)
    assert (told["content"][0]["text"], told["usage"]["input_tokens"]) == ("late", 3)
    assert passed.count(b"event: message_start") == 1


def test_a_call_of_a_tool_that_was_not_offered_never_passes() -> None:
    """Claude Code runs every call it is sent."""
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "id"}}
    message = {"model": "claude-x", "content": [{"type": "text", "text": "so"}, call], "usage": {}}
    data = b"".join(encode_event(event) for event in stream_of(message))
    tap = StreamTap("claude-x", frozenset({"AskUserQuestion"}))
    passed = tap.feed(data)
    assert tap.broken is not None and "Bash" in tap.broken.reason
    assert b"so" in passed and b"Bash" not in passed
    assert StreamTap("claude-x", frozenset({"Bash"})).feed(data) == data
