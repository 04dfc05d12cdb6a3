"""Turns a finished message back into the events of a stream: the inverse of assembling.

For upstreams that answer without a stream, for replaying a recorded turn, and for the scripted upstream.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.messages import events, jsonbytes
from gateway.messages.events import Event

__all__ = ["block_events", "message_events"]

_STREAMED: Mapping[str, Mapping[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
}
"""What the start of a block holds in place of the fields that its deltas carry."""


def message_events(message: Mapping[str, Any], *, pieces: int = 1) -> Iterator[Event]:
    """The events of a stream that assembles to `message`; each text comes in up to `pieces` deltas.

    Raises `ValueError` where a text is not a string.
    """
    counts = dict(message.get("usage") or {})
    head = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    delta = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    delta |= {name: head.pop(name) for name in ("container", "stop_details") if name in head}
    head["usage"] = {**counts, "output_tokens": min(1, counts.get("output_tokens", 0) or 0)}
    yield Event(events.MESSAGE_START, {"type": events.MESSAGE_START, "message": head})
    for index, block in enumerate(message.get("content") or []):
        yield from block_events(block, index, pieces=pieces)
    yield Event(events.MESSAGE_DELTA, {"type": events.MESSAGE_DELTA, "delta": delta, "usage": counts})
    yield Event(events.MESSAGE_STOP, {"type": events.MESSAGE_STOP})


def block_events(block: Mapping[str, Any], index: int, *, pieces: int = 1) -> Iterator[Event]:
    """Start, deltas and stop of one block. Blocks that never stream come whole in their start."""
    start = {**block, **_STREAMED.get(block["type"], {})}
    if block["type"] == "text":
        start.pop("citations", None)
    yield _event(events.CONTENT_BLOCK_START, index, content_block=start)
    for delta in _deltas(block, pieces):
        yield _event(events.CONTENT_BLOCK_DELTA, index, delta=delta)
    yield _event(events.CONTENT_BLOCK_STOP, index)


def _deltas(block: Mapping[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "text":
            for citation in block.get("citations") or []:
                yield {"type": "citations_delta", "citation": citation}
            for piece in _cut(block.get("text", ""), pieces):
                yield {"type": "text_delta", "text": piece}
        case "thinking":
            for piece in _cut(block.get("thinking", ""), pieces):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block.get("signature", "")}
        case "tool_use" | "server_tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in _cut(jsonbytes.encode(block.get("input", {})).decode(), pieces):
                yield {"type": "input_json_delta", "partial_json": piece}


def _cut(text: object, pieces: int) -> Iterator[str]:
    """Up to `pieces` non-empty parts of about equal length."""
    if not isinstance(text, str):
        raise ValueError("a block's text is not a string")
    size = max(1, -(-len(text) // max(1, pieces)))
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def _event(name: str, index: int, **fields: Any) -> Event:
    return Event(name, {"type": name, "index": index, **fields})
