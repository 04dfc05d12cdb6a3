"""Assembling a message from its stream, and streaming a message: each is the other backwards."""

from typing import Any

import pytest

from gateway.messages.assemble import Assembler
from gateway.messages.events import Event
from gateway.messages.replay import message_events

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "a long thought", "signature": "sig"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "text", "text": "hello 😀 world", "citations": [{"type": "char_location", "cited_text": "x"}]},
        {"type": "tool_use", "id": "t", "name": "Bash", "input": {"a": [1, {"b": "ü"}], "z": 1.5}},
        {"type": "tool_use", "id": "u", "name": "Empty", "input": {}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]},
        {"type": "never_seen", "x": {"y": 1}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "container": {"id": "c1"},
    "usage": {"input_tokens": 3, "output_tokens": 9},
}


def assembled(*events: Event) -> Assembler:
    assembler = Assembler()
    for event in events:
        assembler.feed(event)
    return assembler


def start(**message: Any) -> Event:
    return Event("message_start", {"type": "message_start", "message": {"usage": {}, "content": [], **message}})


def opened(block: dict[str, Any]) -> Event:
    return Event("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block})


def delta(**fields: Any) -> Event:
    return Event("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": fields})


STOP = Event("content_block_stop", {"type": "content_block_stop", "index": 0})


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_a_streamed_message_assembles_to_itself(pieces: int) -> None:
    result = assembled(*message_events(MESSAGE, pieces=pieces))
    assert result.message == MESSAGE
    assert result.finished
    assert result.bad_inputs == {}


def test_heartbeats_and_later_usage_do_not_undo_what_was_said() -> None:
    def message_delta(reason: str | None, **usage: Any) -> Event:
        return Event("message_delta", {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})

    result = assembled(
        start(usage={"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}),
        message_delta("end_turn", output_tokens=4),
        message_delta(None, output_tokens=8, input_tokens=None, server_tool_use={"web_search_requests": 1}),
        Event("ping", {"type": "ping"}),
    )
    assert result.stop_reason == "end_turn"
    assert result.usage == {
        "input_tokens": 5,
        "cache_read_input_tokens": 2,
        "output_tokens": 8,
        "server_tool_use": {"web_search_requests": 1},
    }


CALL = {"type": "tool_use", "id": "t", "name": "n", "input": {}}


@pytest.mark.parametrize("text", ['{"command": "rm -r', "null", "[]", '"x"', "{} {}", '{"a": \ud800}'])
def test_an_input_that_is_no_object_is_kept_apart_as_text(text: str) -> None:
    result = assembled(start(), opened(CALL), delta(type="input_json_delta", partial_json=text), STOP)
    assert result.content[0]["input"] == {}
    assert result.bad_inputs == {0: text}


def test_no_input_deltas_leave_the_input_of_the_start() -> None:
    whole = {**CALL, "input": {"complete": True}}
    assert assembled(start(), opened(whole), STOP).content == [whole]
    empty = delta(type="input_json_delta", partial_json="")
    assert assembled(start(), opened(whole), empty, STOP).content == [whole]


def test_deltas_of_unknown_kinds_are_kept_as_well_as_can_be() -> None:
    result = assembled(
        start(),
        opened({"type": "compaction", "content": ""}),
        delta(type="compaction_delta", content="sum"),
        delta(type="compaction_delta", content="mary", encrypted_content={"k": 1}),
        STOP,
    )
    assert result.content == [{"type": "compaction", "content": "summary", "encrypted_content": {"k": 1}}]


def test_fields_beside_the_delta_join_the_message() -> None:
    data = {"type": "message_delta", "delta": {}, "context_management": {"applied_edits": []}}
    assert assembled(start(), Event("message_delta", data)).message["context_management"] == {"applied_edits": []}


def test_events_are_not_changed_by_assembling() -> None:
    block = {"type": "text", "text": "a"}
    assembled(start(), opened(block), delta(type="text_delta", text="b"), STOP)
    assert block == {"type": "text", "text": "a"}
