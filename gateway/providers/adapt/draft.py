"""A request while it is being reduced: parts that steps replace, and bytes that nobody touched.

Every step takes a draft and returns one; what it does not change stays the same object, so that the end result
keeps the client's bytes and upstream prefix caches hold. Knows messages; must not know capabilities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message, Role, Tool, text_block
from gateway.messages.errors import InvalidRequest
from gateway.messages.jsonbytes import Raw
from gateway.messages.request import MessagesRequest

__all__ = ["NOTHING", "Draft", "holds", "map_blocks", "map_inner", "must_stay"]

NOTHING = "(no content)"
"""Stands for an answer of which nothing is left; Claude Code words it so too."""

_PARTS = ("messages", "system", "tools")


@dataclass(frozen=True)
class Draft:
    """`fields` is the body without messages, system and tools; None in `system` and `tools` means absent."""

    source: MessagesRequest
    """What the client sent."""
    given: tuple[object, object, object]
    """Messages, system and tools before any step, to tell by identity which parts changed."""
    said: bytes
    """The client's messages as they came."""
    fields: Mapping[str, Raw]
    messages: tuple[Message, ...]
    system: tuple[Block, ...] | str | None
    tools: tuple[Tool, ...] | None
    betas: tuple[str, ...]
    version: str | None
    model: str
    """The name the upstream knows the model by."""
    upstream: str
    """The gateway's name of the upstream."""
    edits: tuple[dict[str, Any], ...] = ()
    """Context edits the gateway applied in the upstream's place."""
    edited: bool = False
    """Whether the client asked for context edits that the upstream does not know."""
    lost_thinking: bool = False
    """Whether thinking that the upstream cannot take was left out."""

    @classmethod
    def of(cls, request: MessagesRequest, headers: Mapping[str, str], *, model: str, upstream: str) -> "Draft":
        fields = {name: raw for name, raw in request.fields.items() if name not in _PARTS}
        if request.system is None:
            system: tuple[Block, ...] | str | None = None
        elif memoryview(request.system)[0] == ord('"'):
            system = request.system_text
        else:
            system = tuple(request.system_blocks)
        betas = tuple(value for item in headers.get("anthropic-beta", "").split(",") if (value := item.strip()))
        messages = tuple(request.messages)
        tools = tuple(request.tools) if "tools" in request.fields else None
        return cls(
            source=request,
            given=(messages, system, tools),
            said=bytes(request.fields["messages"]),
            fields=fields,
            messages=messages,
            system=system,
            tools=tools,
            betas=betas,
            version=headers.get("anthropic-version"),
            model=model or request.model,
            upstream=upstream,
        )

    def mentions(self, *marks: bytes) -> bool:
        """Whether the client's messages hold one of the marks anywhere: one look that spares most requests the
        walk through their messages. No step writes what another one looks for."""
        return any(mark in self.said for mark in marks)

    def value(self, name: str) -> Any:
        """A field of the body, decoded; None when absent."""
        raw = self.fields.get(name)
        try:
            return None if raw is None else jsonbytes.decode_any(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"{name}: {error}") from error

    def with_field(self, name: str, value: object) -> "Draft":
        """The draft with one field set."""
        return replace(self, fields={**self.fields, name: Raw(jsonbytes.encode(value))})

    def without(self, *names: str) -> "Draft":
        """The draft without these fields."""
        if not any(name in self.fields for name in names):
            return self
        return replace(self, fields={name: raw for name, raw in self.fields.items() if name not in names})

    def request(self, fields: dict[str, Raw]) -> MessagesRequest:
        """The draft as a request; `fields` is its `body`."""
        return MessagesRequest(fields, counting=True, messages=self.messages, tools=self.tools or ())

    def body(self, *, encoded: bool = True) -> dict[str, Raw]:
        """All fields in the client's order; parts that no step replaced with the client's bytes. `encoded` False
        leaves out messages and tools that were replaced."""
        fields: dict[str, Raw] = dict(self.fields)
        order = self.source.fields
        for name, part, given in zip(_PARTS, (self.messages, self.system, self.tools), self.given, strict=True):
            if part is given:
                if name in order:
                    fields[name] = order[name]
            elif part is not None and (encoded or name == "system"):
                fields[name] = Raw(jsonbytes.encode(part))
        return {name: fields[name] for name in dict.fromkeys((*order, *fields)) if name in fields}


def holds(message: Message, *marks: bytes) -> bool:
    """Whether the message's bytes hold one of the marks: a cheap look before anything is decoded. True for
    messages made here, which have no bytes yet."""
    if message.raw is None:
        return True
    data = bytes(message.raw)
    return any(mark in data for mark in marks)


def must_stay(message: Message, before: Sequence[Message]) -> bool:
    """Whether a message with nothing left to say has to say `NOTHING`: only an answer may follow a system message."""
    return message.role == "assistant" and bool(before) and before[-1].role == "system"


def map_blocks(
    messages: tuple[Message, ...],
    change: Callable[[Block], Sequence[Block] | None],
    *,
    role: Role | None = None,
    marks: tuple[bytes, ...] = (),
) -> tuple[Message, ...]:
    """The messages with every block replaced by what `change` returns for it; None keeps the block.

    A message that loses all its blocks is left out, unless it carries more than its content or `must_stay`. Without a
    change the very same tuple comes back. Messages that hold none of the `marks`, or a mere text, are not looked into.
    """
    mapped: list[Message] = []
    changed = False
    for message in messages:
        plain = isinstance(message.content, str) or (role is not None and message.role != role)
        if plain or (marks and not holds(message, *marks)):
            mapped.append(message)
            continue
        blocks = _mapped(message.blocks, change)
        if blocks is None:
            mapped.append(message)
            continue
        changed = True
        if blocks or message.extra:
            mapped.append(message.with_content(blocks))
        elif must_stay(message, mapped):
            mapped.append(message.with_content([text_block(NOTHING)]))
    return tuple(mapped) if changed else messages


def _mapped(blocks: Sequence[Block], change: Callable[[Block], Sequence[Block] | None]) -> list[Block] | None:
    result: list[Block] = []
    changed = False
    for block in blocks:
        others = change(block)
        if others is None:
            result.append(block)
        else:
            changed = True
            result.extend(others)
    return result if changed else None


def map_inner(block: Block, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Block | None:
    """A `tool_result` with the items of its content replaced; None where nothing changed or it holds no list.

    `change` returns the new item, or None to keep it.
    """
    content = block.get("content")
    if block.type != "tool_result" or not isinstance(content, list):
        return None
    others = [change(item) if isinstance(item, dict) else None for item in content]
    if all(other is None for other in others):
        return None
    return block.replace(
        content=[item if other is None else other for item, other in zip(content, others, strict=True)]
    )
