"""What a request's body must be looked at for before it may be forwarded as it is: a glance, not a parse.

Conservative: whatever the gateway might have a hand in is not forwarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from gateway.messages import foreign_signature
from gateway.policy import Disposition, disposition_of, local_effect_properties

__all__ = ["Glance", "glance_at", "needs_no_hand"]

_ABSENT = msgspec.Raw()
_LIST = b"["


class _ToolHead(msgspec.Struct):
    name: str | None = None
    type: str | None = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = _ABSENT


class _Block(msgspec.Struct):
    type: str
    gateway: msgspec.Raw = _ABSENT
    signature: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct):
    type: str | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class Glance(msgspec.Struct):
    """The few fields that decide; all others are skipped over."""

    model: str
    messages: list[_Message]
    stream: bool = False
    tools: list[_ToolHead] | None = None
    thread: msgspec.Raw = _ABSENT
    container: msgspec.Raw = _ABSENT
    metadata: _Metadata | None = None
    tool_choice: _Choice | None = None

    @property
    def tool_names(self) -> frozenset[str]:
        """Of the tools that the request offers."""
        return frozenset(tool.name for tool in self.tools or () if tool.name)

    @property
    def may_name_a_session(self) -> bool:
        """Whether the body, not a header, may say whose session this is."""
        named = self.metadata.user_id if self.metadata is not None else None
        return bool(bytes(self.container)) or (named is not None and "session_id" in named)


_decoder = msgspec.json.Decoder(Glance)
_blocks = msgspec.json.Decoder(list[_Block])
_FOREIGN = b'"' + foreign_signature.MARK


def glance_at(body: bytes) -> Glance | None:
    """None where the body is not even this much of a request; the parser behind says what is wrong."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def needs_no_hand(glance: Glance, *, sandboxed: bool, claude_code: bool, client_tools: Sequence[str]) -> bool:
    """Whether nothing in the request is the gateway's: no tool it runs, refuses or trims, no block it made or may
    have to quote, no reasoning it signed for another upstream."""
    if not glance.model or bytes(glance.thread) or not _all_plain(glance.messages):
        return False
    if glance.tool_choice is not None and glance.tool_choice.type == "function":
        return False  # the forerunner's wording, which no upstream knows
    if not glance.tools:
        return True
    if any(tool.type not in (None, "custom") for tool in glance.tools):
        return False  # the upstream may pause in its own tools, and the turn loop goes on for the client
    if not sandboxed:
        return True
    names = tuple(tool.name or "" for tool in glance.tools)
    return _all_the_clients(names, claude_code, tuple(client_tools))


def _all_plain(messages: Sequence[_Message]) -> bool:
    """Reads no text: blocks are looked at, strings skipped."""
    for message in messages:
        content = message.content
        if memoryview(content)[:1] != _LIST:
            continue
        try:
            found = _blocks.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        for block in found:
            if block.type == "server_tool_use" or bytes(block.gateway):
                return False
            if bytes(block.signature).startswith(_FOREIGN):
                return False
    return True


@lru_cache(maxsize=1024)
def _all_the_clients(names: tuple[str, ...], claude_code: bool, client_tools: tuple[str, ...]) -> bool:
    return all(
        disposition_of(name, claude_code=claude_code, client_tools=client_tools) is Disposition.CLIENT
        and not local_effect_properties(name)
        for name in names
    )
