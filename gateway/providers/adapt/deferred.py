"""Loads deferred tools as the conversation names them, for upstreams that know only a plain list of tools.

A tool with `defer_loading` is unknown to the model until a `tool_reference` names it: in the result of a client's
search, in that of the API's own, or in a `tool_addition` between the turns. Tools are added behind the others in
order of their first reference, so that a list only ever grows at its end and prefix caches hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.messages.blocks import Block, Message, Tool
from gateway.messages.errors import InvalidRequest
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, holds, map_blocks, map_inner
from gateway.providers.adapt.tool_list import with_tools

__all__ = ["PLACEHOLDER", "with_deferred_tools"]

PLACEHOLDER = "DeferredToolPlaceholder"
"""An entry that Claude Code adds so that the list is never all loaded; no model may ever call it."""

_MARKS = (b"tool_reference", b"tool_addition", b"tool_removal")
_CHANGES = frozenset({"tool_addition", "tool_removal"})
_UNNAMED = frozenset({"mcp_tool_reference", "mcp_toolset_reference"})


@dataclass(frozen=True, slots=True)
class _Change:
    """One place of the conversation that says which tools there are."""

    name: str
    added: bool
    definition: Mapping[str, Any] | None = None
    must_exist: bool = False


@dataclass
class _Loaded:
    """Which tools are in force, as far as the conversation was read."""

    declared: dict[str, Tool]
    order: dict[str, None] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    def take(self, change: _Change, *, strict: bool) -> None:
        if not change.added:
            self.removed.add(change.name)
            return
        if change.definition is not None:
            self.declared[change.name] = Tool.of(change.definition)
        elif change.name not in self.declared:
            if strict and change.must_exist:
                raise InvalidRequest(
                    f"Tool reference '{change.name}' not found in available tools",
                    details={"error_code": "tool_reference_unresolved"},
                )
            return
        self.removed.discard(change.name)
        self.order.setdefault(change.name)


def with_deferred_tools(draft: Draft, capabilities: Capabilities) -> Draft:
    """Tools that are loaded by now, without `defer_loading`; references as short texts.

    Raises `InvalidRequest` for a reference to a tool that is not declared, unless MCP servers may declare it.
    """
    if capabilities.has("deferred_tools"):
        return draft
    tools = draft.tools or ()
    if not draft.mentions(*_MARKS) and not any(b"defer_loading" in bytes(tool.raw) for tool in tools):
        return draft
    loaded = _Loaded({tool.name: tool for tool in tools if tool.name})
    strict = all(tool.name for tool in tools) and "mcp_servers" not in draft.fields
    for change in _changes(draft.messages):
        loaded.take(change, strict=strict)
    return with_tools(_without_references(draft), _in_force(tools, loaded))


def _in_force(tools: tuple[Tool, ...], loaded: _Loaded) -> tuple[Tool, ...]:
    eager = [tool for tool in tools if tool.get("defer_loading") is not True and tool.name not in loaded.removed]
    known = {tool.name for tool in eager}
    late = [loaded.declared[name] for name in loaded.order if name not in known and name not in loaded.removed]
    return tuple(_plain(tool) for tool in (*eager, *late) if tool.name != PLACEHOLDER)


def _plain(tool: Tool) -> Tool:
    return tool.replace(drop=["defer_loading"]) if "defer_loading" in tool.data else tool


def _changes(messages: tuple[Message, ...]) -> Iterator[_Change]:
    for message in messages:
        if holds(message, *_MARKS):
            for block in message.blocks:
                yield from _changes_of(block, message.role)


def _changes_of(block: Block, role: str) -> Iterator[_Change]:
    content = block.get("content")
    if block.type == "tool_result" and role == "user" and isinstance(content, list):
        yield from _references(content)
    elif block.type == "tool_search_tool_result" and isinstance(content, dict):
        yield from _references(content.get("tool_references"))
    elif block.type in _CHANGES and role == "system":
        subject = block.get("tool")
        if isinstance(subject, dict):
            yield from _change(subject, added=block.type == "tool_addition")


def _references(items: Any) -> Iterator[_Change]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") == "tool_reference" and isinstance(item.get("tool_name"), str):
            yield _Change(item["tool_name"], added=True, must_exist=True)


def _change(subject: Mapping[str, Any], *, added: bool) -> Iterator[_Change]:
    definition = subject.get("definition")
    if isinstance(definition, dict) and isinstance(definition.get("name"), str):
        yield _Change(definition["name"], added, definition if added else None)
        return
    name = subject.get("name", subject.get("tool_name"))
    if isinstance(name, str) and subject.get("type") not in _UNNAMED:
        yield _Change(name, added, must_exist=True)


def _without_references(draft: Draft) -> Draft:
    if not draft.mentions(*_MARKS):
        return draft
    messages = map_blocks(draft.messages, _reference_as_text, role="user", marks=_MARKS[:1])
    messages = map_blocks(messages, lambda block: [] if block.type in _CHANGES else None, role="system", marks=_MARKS)
    return draft if messages is draft.messages else replace(draft, messages=messages)


def _reference_as_text(block: Block) -> list[Block] | None:
    changed = map_inner(block, _item_as_text)
    return None if changed is None else [changed]


def _item_as_text(item: dict[str, Any]) -> dict[str, Any] | None:
    if item.get("type") != "tool_reference":
        return None
    return {"type": "text", "text": f"The tool {item.get('tool_name')} is now available."}
