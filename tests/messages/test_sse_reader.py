"""The reader of server-sent events: any cut of the bytes gives the same events, any lie ends the stream."""

import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from gateway.messages.events import Event, encode_event
from gateway.messages.replay import message_events
from gateway.messages.sse_reader import SseDecoder, StreamBroken, read_events

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "hm — ¿qué?", "signature": "sig"},
        {"type": "text", "text": "naïve 日本語 😀 text"},
        {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "echo 'é'"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "output_tokens": 9},
}
EVENTS = list(message_events(MESSAGE, pieces=5))
WIRE = b"".join(encode_event(event) for event in EVENTS)


async def chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(*parts: bytes) -> list[Event]:
    return [event async for event in read_events(chunks(parts))]


async def broken(*parts: bytes) -> str:
    with pytest.raises(StreamBroken) as caught:
        await read(*parts)
    return caught.value.reason


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(encode_event(Event(data["type"], data)) for data in events)


START = {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {}}}
STOP = {"type": "message_stop"}


def opened(index: Any = 0, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": "", **block}}


def delta(index: Any = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "x", **fields}}


def closed(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("seed", range(20))
async def test_chunks_may_end_anywhere(ending: bytes, seed: int) -> None:
    dice = random.Random(seed)
    data = WIRE.replace(b"\n", ending)
    cuts = sorted(dice.sample(range(1, len(data)), dice.choice([1, 10, 200])))
    parts = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert await read(*parts) == EVENTS


async def test_single_bytes_and_empty_chunks_are_chunks_too() -> None:
    assert await read(*(piece for at in range(len(WIRE)) for piece in (b"", WIRE[at : at + 1]))) == EVENTS


async def test_a_byte_order_mark_comments_pings_and_unknown_fields_are_taken() -> None:
    data = b": hello\r\n\r\nretry: 5\nid: 7\n\n" + WIRE.replace(b"data: ", b":c\ndata:").replace(b"}\n", b"}\n:x\n")
    assert await read(b"\xef", b"\xbb\xbf" + data) == EVENTS


async def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    for ending in (b"\n", b"\r", b"\r\n"):
        first = encode_event(EVENTS[0]).replace(b"\n", ending)
        assert SseDecoder().feed(first) == [EVENTS[0]]


async def test_data_may_span_lines_and_the_name_may_be_missing() -> None:
    data = WIRE.replace(b'","', b'",\ndata: "')
    lines = [line for line in data.split(b"\n") if not line.startswith(b"event:")]
    assert await read(b"\n".join(lines)) == EVENTS


async def test_a_type_that_is_missing_is_taken_from_the_event_line() -> None:
    assert (await read(b"event: ping\ndata: {}\n\n" + WIRE))[0] == Event("ping", {})


async def test_the_last_event_needs_no_blank_line_and_other_peoples_end_marks_are_ignored() -> None:
    assert await read(WIRE.rstrip()) == EVENTS
    assert await read(b"data: [DONE]\n\n" + WIRE + b"data: [DONE]\n\n") == EVENTS


async def test_unknown_events_and_deltas_pass() -> None:
    events: list[dict[str, Any]] = [START, {"type": "news", "x": 1}, opened(), delta(type="new_delta"), closed(), STOP]
    assert [event.name for event in await read(wire(*events))][1] == "news"


async def test_nothing_is_read_after_the_end() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield WIRE
        raise AssertionError("read on after message_stop")

    assert [event async for event in read_events(endless())] == EVENTS


async def test_an_error_event_ends_the_stream_and_a_bare_error_object_counts_as_one() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert (await read(wire(START, error)))[-1].name == "error"
    assert (await read(b'data: {"error": {"message": "no"}}\n\n'))[-1].name == "error"


FAULTS = [
    (b"", "the stream is empty"),
    (b": only a comment\n\n", "the stream is empty"),
    (WIRE[: len(WIRE) // 2].rsplit(b"event:", 1)[0], "ended before message_stop"),
    (WIRE[: WIRE.rindex(b"event: message_stop")], "ended before message_stop"),
    (WIRE[:-8], "not JSON"),
    (b"data: {broken\n\n", "not JSON"),
    (b'data: "\xff"\n\n', "not JSON"),
    (b"data: " + b"[" * 100_000 + b"\n\n", "not JSON"),
    (b"data: []\n\n", "not a JSON object"),
    (b"data: {}\n\n", "without a name"),
    (b"<html>502</html>", "the stream is empty"),
    (wire(opened()), "before message_start"),
    (wire(START, START), "second message_start"),
    (wire({"type": "message_start"}), "without a message"),
    (wire({"type": "message_start", "message": {"usage": 5}}), "usage is not an object"),
    (wire({"type": "message_start", "message": {"content": "x"}}), "content is not an empty list"),
    (wire({"type": "message_start", "message": {"content": ["text"]}}), "content is not an empty list"),
    (wire(START, opened(1)), "block 1 starts where 0 is next"),
    (wire(START, opened(), closed(), opened(2)), "block 2 starts where 1 is next"),
    (wire(START, opened(), opened(1)), "block 1 starts while block 0 is open"),
    (wire(START, opened("0")), "without an index"),
    (wire(START, opened(True)), "without an index"),
    (wire(START, opened(type=5)), "has no type"),
    (wire(START, opened(type="tool_use", id="", name="n")), "tool_use without id"),
    (wire(START, opened(type="tool_use", id="i")), "tool_use without name"),
    (wire(START, delta()), "which is not open"),
    (wire(START, opened(), delta(1)), "which is not open"),
    (wire(START, opened(), closed(), delta()), "which is not open"),
    (wire(START, opened(), closed(), closed()), "which is not open"),
    (wire(START, opened(), delta(text=5)), "text_delta without a string text"),
    (wire(START, opened(), delta(type=None)), "without a typed delta"),
    (wire(START, opened(), delta(type="input_json_delta", partial_json="{")), "input_json_delta in a text block"),
    (wire(START, opened(type="thinking"), delta()), "text_delta in a thinking block"),
    (wire(START, opened(), delta(type="citations_delta", citation="x")), "without a citation"),
    (wire(START, {"type": "message_delta", "delta": {"stop_reason": 5}}), "stop_reason is not a string"),
    (wire(START, {"type": "message_delta", "usage": [1]}), "usage is not an object"),
    (wire(START, {"type": "message_delta", "delta": "x"}), "delta is not an object"),
    (wire(START, opened(), STOP), "message_stop while block 0 is open"),
    (wire(STOP), "before message_start"),
]


@pytest.mark.parametrize(("data", "reason"), FAULTS, ids=[f"{at}-{reason}" for at, (_, reason) in enumerate(FAULTS)])
async def test_what_is_no_messages_stream_is_broken(data: bytes, reason: str) -> None:
    assert reason in await broken(data)
    assert reason in await broken(*(data[at : at + 7] for at in range(0, len(data), 7)))


@pytest.mark.parametrize("line", [b"data: ", b": ", b"x"])
async def test_an_event_too_large_is_broken_before_it_is_complete(line: bytes) -> None:
    decoder = SseDecoder(max_event=1000)
    with pytest.raises(StreamBroken, match="more than 1000 bytes"):
        for _ in range(30):
            decoder.feed(line + b"y" * 50)


async def test_many_short_lines_of_one_event_count_together() -> None:
    decoder = SseDecoder(max_event=1000)
    with pytest.raises(StreamBroken, match="more than 1000 bytes"):
        for _ in range(200):
            decoder.feed(b"data: 1,\n")
