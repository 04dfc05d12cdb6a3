"""The writer of server-sent events can only write streams that the reader, and every client, accepts."""

from collections.abc import AsyncIterator, Callable

import pytest

from gateway.messages.assemble import Assembler
from gateway.messages.events import Event
from gateway.messages.sse_reader import read_events
from gateway.messages.sse_writer import SseWriter

HEAD = {"id": "msg_1", "model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}
TEXT = {"type": "text", "text": ""}
CALL = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}


async def read(*written: bytes) -> list[Event]:
    async def parts() -> AsyncIterator[bytes]:
        for part in written:
            yield part

    return [event async for event in read_events(parts())]


async def test_a_turn_with_every_kind_of_block_reads_back_with_contiguous_indices() -> None:
    seen = Assembler()
    writer = SseWriter(tap=seen.feed)
    written = [writer.start(HEAD), writer.ping(), writer.open_block({"type": "thinking", "thinking": ""})]
    written += [writer.delta({"type": "thinking_delta", "thinking": "hm"}), writer.heartbeat()]
    written += [writer.delta({"type": "signature_delta", "signature": "s"}), writer.close_block()]
    written += [writer.heartbeat()]
    written += [writer.open_block(TEXT), writer.heartbeat()]
    written += [writer.delta({"type": "text_delta", "text": "é😀 \ud83d"}), writer.close_block()]
    written += [writer.whole_block({"type": "bash_code_execution_tool_result", "tool_use_id": "x", "content": {}})]
    written += [writer.open_block(CALL), writer.heartbeat()]
    written += [writer.delta({"type": "input_json_delta", "partial_json": '{"command":"ls"}'})]
    written += [writer.finish("tool_use", {"output_tokens": 5}, extra={"container": {"id": "c"}})]
    events = await read(*written)
    indices = [event.data["index"] for event in events if event.name == "content_block_start"]
    assert indices == [0, 1, 2, 3]
    assert [event.name for event in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2].data["delta"] == {
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "container": {"id": "c"},
    }
    read_back = Assembler()
    for event in events:
        read_back.feed(event)
    assert read_back.content[3]["input"] == {"command": "ls"}
    assert read_back.content[1]["text"] == "é😀 �"
    assert seen.content[3] == read_back.content[3]
    assert read_back.usage == {"input_tokens": 7, "output_tokens": 5}
    assert writer.ended


async def test_message_start_is_always_empty_and_complete() -> None:
    writer = SseWriter()
    started = writer.start({**HEAD, "content": [{"type": "text", "text": "early"}]})
    message = (await read(started, writer.finish("end_turn", None)))[0].data["message"]
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
    assert message["stop_reason"] is None
    assert message["usage"] == {"input_tokens": 7, "output_tokens": 1}


HEARTBEATS = [
    (TEXT, "content_block_delta", {"type": "text_delta", "text": ""}),
    ({"type": "thinking", "thinking": ""}, "content_block_delta", {"type": "thinking_delta", "thinking": ""}),
    (CALL, "content_block_delta", {"type": "input_json_delta", "partial_json": ""}),
    ({**CALL, "type": "server_tool_use"}, "content_block_delta", {"type": "input_json_delta", "partial_json": ""}),
    ({**CALL, "type": "mcp_tool_use"}, "ping", None),
    ({"type": "redacted_thinking", "data": "x"}, "ping", None),
    (None, "message_delta", {"stop_reason": None, "stop_sequence": None}),
]


@pytest.mark.parametrize(("block", "name", "delta"), HEARTBEATS)
async def test_a_heartbeat_is_the_least_the_clients_watchdog_counts(
    block: dict[str, object] | None, name: str, delta: object
) -> None:
    writer = SseWriter()
    written = [writer.start(HEAD)] + ([writer.open_block(block)] if block else [])
    beat = writer.heartbeat()
    events = await read(*written, beat, writer.finish("end_turn", None))
    event = events[len(written)]
    assert event.name == name
    assert event.data.get("delta") == delta
    if name == "message_delta":
        assert event.data["usage"] == {"output_tokens": 0}


def test_before_the_start_only_pings_and_errors_can_be_written() -> None:
    assert SseWriter().heartbeat() == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert SseWriter().error("overloaded_error", "Overloaded", "req_1").startswith(b"event: error\n")


ILLEGAL: list[tuple[str, Callable[[SseWriter], object]]] = [
    ("open before start", lambda w: w.open_block(TEXT)),
    ("whole before start", lambda w: w.whole_block(TEXT)),
    ("delta before start", lambda w: w.delta({"type": "text_delta", "text": ""})),
    ("finish before start", lambda w: w.finish("end_turn", None)),
    ("start twice", lambda w: (w.start(HEAD), w.start(HEAD))),
    ("close without open", lambda w: (w.start(HEAD), w.close_block())),
    ("delta without open", lambda w: (w.start(HEAD), w.delta({"type": "text_delta", "text": ""}))),
    ("blocks interleave", lambda w: (w.start(HEAD), w.open_block(TEXT), w.open_block(TEXT))),
    ("whole in open", lambda w: (w.start(HEAD), w.open_block(TEXT), w.whole_block(TEXT))),
    (
        "delta of the wrong kind",
        lambda w: (w.start(HEAD), w.open_block(CALL), w.delta({"type": "text_delta", "text": ""})),
    ),
    (
        "streamed mcp input",
        lambda w: (
            w.start(HEAD),
            w.open_block({**CALL, "type": "mcp_tool_use"}),
            w.delta({"type": "input_json_delta", "partial_json": "{"}),
        ),
    ),
    ("anything after the end", lambda w: (w.start(HEAD), w.finish("end_turn", None), w.ping())),
    ("finish twice", lambda w: (w.start(HEAD), w.finish("end_turn", None), w.finish("end_turn", None))),
    ("a clean end after an error", lambda w: (w.start(HEAD), w.error("api_error", "x"), w.finish("end_turn", None))),
    ("an error after the end", lambda w: (w.start(HEAD), w.finish("end_turn", None), w.error("api_error", "x"))),
]


@pytest.mark.parametrize("step", [step for _, step in ILLEGAL], ids=[name for name, _ in ILLEGAL])
def test_an_illegal_step_is_a_programming_error(step: Callable[[SseWriter], object]) -> None:
    with pytest.raises(ValueError, match="illegal stream step"):
        step(SseWriter())


async def test_an_error_ends_the_stream_with_the_envelope_and_no_clean_end() -> None:
    writer = SseWriter()
    written = [writer.start(HEAD), writer.open_block(TEXT), writer.error("overloaded_error", "Overloaded", "req_9")]
    events = await read(*written)
    assert events[-1].data == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_9",
    }
    assert writer.ended
    assert b"message_stop" not in b"".join(written)


async def test_finish_closes_the_open_block_first() -> None:
    writer = SseWriter()
    written = [writer.start(HEAD), writer.open_block(TEXT), writer.finish("max_tokens", None, event_extra={"x": 1})]
    names = [event.name for event in await read(*written)]
    assert names == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]


async def test_a_line_end_in_text_cannot_make_a_second_event() -> None:
    writer = SseWriter()
    text = "x\n\nevent: error\ndata: {}\r\rdata: \u2028"
    written = [writer.start(HEAD), writer.open_block(TEXT), writer.delta({"type": "text_delta", "text": text})]
    events = await read(*written, writer.finish("end_turn", None))
    assert events[2].data["delta"]["text"] == text
