"""The events of a Messages stream: a name and a JSON object, and the names the grammar uses.

Knows the vocabulary only; order and state are the business of grammar, reader and writer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.messages import jsonbytes

__all__ = [
    "CONTENT_BLOCK_DELTA",
    "CONTENT_BLOCK_START",
    "CONTENT_BLOCK_STOP",
    "ERROR",
    "Event",
    "encode_event",
]
__all__ += [
    "DELTA_FIELDS",
    "MESSAGE_DELTA",
    "MESSAGE_START",
    "MESSAGE_STOP",
    "PING",
    "delta_fits",
    "empty_delta",
]

MESSAGE_START = "message_start"
CONTENT_BLOCK_START = "content_block_start"
CONTENT_BLOCK_DELTA = "content_block_delta"
CONTENT_BLOCK_STOP = "content_block_stop"
MESSAGE_DELTA = "message_delta"
MESSAGE_STOP = "message_stop"
PING = "ping"
ERROR = "error"

DELTA_FIELDS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""The string field that each known kind of delta carries."""

_TEXT_KINDS = frozenset({"text_delta", "citations_delta"})
_THINKING_KINDS = frozenset({"thinking_delta", "signature_delta"})
_INPUT_KINDS = frozenset({"input_json_delta"})
_KINDS: Mapping[str, frozenset[str]] = {
    "text": _TEXT_KINDS,
    "thinking": _THINKING_KINDS,
    "tool_use": _INPUT_KINDS,
    "server_tool_use": _INPUT_KINDS,
    "mcp_tool_use": _INPUT_KINDS,
}
_KNOWN_KINDS = _TEXT_KINDS | _THINKING_KINDS | _INPUT_KINDS

_EMPTY: Mapping[str, Mapping[str, str]] = {
    "text": {"type": "text_delta", "text": ""},
    "thinking": {"type": "thinking_delta", "thinking": ""},
    "tool_use": {"type": "input_json_delta", "partial_json": ""},
    "server_tool_use": {"type": "input_json_delta", "partial_json": ""},
}


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `data["type"]` equals `name`."""

    name: str
    data: dict[str, Any]


def encode_event(event: Event) -> bytes:
    """The event as it stands on the wire, blank line included."""
    return b"event: " + event.name.encode() + b"\ndata: " + jsonbytes.encode(event.data) + b"\n\n"


def delta_fits(block_type: str, delta_type: str) -> bool:
    """Whether such a delta may go into such a block. Of types we do not know, nothing is refused."""
    allowed = _KINDS.get(block_type)
    return allowed is None or delta_type in allowed or delta_type not in _KNOWN_KINDS


def empty_delta(block_type: str) -> dict[str, str] | None:
    """A delta that says nothing, for a block of that type; None where no such delta is safe.

    `mcp_tool_use` has none on purpose: Claude Code ends the turn on any input delta into it.
    """
    found = _EMPTY.get(block_type)
    return None if found is None else dict(found)
