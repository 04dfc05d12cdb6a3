"""What a request says about itself: which turn it is, whose session, which directory.

Pure functions over parsed requests. Clients repeat a turn with small differences (a list of one text where
a string was, moved cache marks, normalised tool inputs); the digest is blind to exactly those.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message

__all__ = ["SessionIdentity", "session_identity", "turn_digest", "working_directory"]

_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_MAX_USER_ID = 64 * 1024


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """What a client put into metadata.user_id. Chosen by the client: scope it by principal before use."""

    session_id: str | None = None
    device_id: str | None = None


def session_identity(user_id: str | None) -> SessionIdentity:
    """Reads the JSON string that Claude Code puts into metadata.user_id; anything else says nothing."""
    if not user_id or len(user_id) > _MAX_USER_ID or not user_id.lstrip().startswith("{"):
        return SessionIdentity()
    try:
        data = jsonbytes.decode_any(user_id.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return SessionIdentity()
    return SessionIdentity(_text(data.get("session_id")), _text(data.get("device_id")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def turn_digest(messages: Iterable[Message]) -> str:
    """64 hex digits, equal for every way a client may repeat the same conversation."""
    digest = hashlib.sha256()
    for message in messages:
        parts = [_normal(block) for block in message.blocks]
        digest.update(jsonbytes.encode([message.role, parts]))
        digest.update(b"\n")
    return digest.hexdigest()


def _normal(block: Block) -> object:
    data = block.data
    if block.type in _CALLS:
        return [block.type, data.get("id")]
    if block.type == "tool_result":
        return [block.type, data.get("tool_use_id"), _result(data.get("content")), bool(data.get("is_error"))]
    return _ordered(data)


def _result(content: Any) -> object:
    """A string, a list of one text, no content and an empty list are the same result to a model."""
    if content is None or content == []:
        return ""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        only = content[0]
        if only.get("type") == "text":
            return only.get("text", "")
    return _ordered(content)


def _ordered(value: Any) -> object:
    if isinstance(value, dict):
        return {
            name: _ordered(value[name]) for name in sorted(value) if name != "cache_control" and value[name] is not None
        }
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


_LABELS = ("Primary working directory:", "Working directory:", "CWD:")
_BULLETS = " \t-*"
_LINE = re.compile(r"[^\r\n]*")


def working_directory(system: str, messages: Sequence[Message] = ()) -> str | None:
    """The absolute local directory the client told the model, None when it told none.

    Looked for in the system prompt, then in system entries, then in the first user message (where some
    client settings put it). Text from a client: check it against the allowed roots before use.
    """
    places = [system, *(message.text for message in messages if message.role == "system")]
    places.extend(message.text for message in messages[:1] if message.role == "user")
    found = (directory for place in places for label in _LABELS for directory in _stated(place, label))
    return next(found, None)


def _stated(text: str, label: str) -> Iterator[str]:
    """The absolute paths on lines that begin with the label. Searches for the label, not line by line:
    prompts are long."""
    at = text.find(label)
    while at >= 0:
        begin = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
        end = at + len(label)
        line = _LINE.match(text, end)
        directory = line[0].strip().strip("`'\"") if line is not None else ""
        if not text[begin:at].strip(_BULLETS) and directory.startswith("/") and "\0" not in directory:
            yield directory
        at = text.find(label, end)
