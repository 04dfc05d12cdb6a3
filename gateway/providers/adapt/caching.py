"""Words marks for prompt caching as the upstream knows them: whole, without scope or ttl, or not at all."""

from dataclasses import replace
from typing import Any

from gateway.messages.blocks import Block, Tool
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks, map_inner

__all__ = ["with_cache_marks"]

_NAME = "cache_control"
_MARK = b'"cache_control"'


def with_cache_marks(draft: Draft, capabilities: Capabilities) -> Draft:
    """Marks on blocks (also inside tool results), tools, the system prompt and the request itself."""
    gone = [name for name in ("scope", "ttl") if not capabilities.has(f"cache_{name}")]
    whole = not capabilities.has(_NAME)
    if not gone and not whole:
        return draft

    def marked(data: dict[str, Any]) -> dict[str, object] | None:
        """The fields that replace the mark; None where it is fine or missing, {} where it must go."""
        mark = data.get(_NAME)
        if mark is None:
            return None
        if whole or not isinstance(mark, dict):
            return {} if whole else None
        return {_NAME: {n: v for n, v in mark.items() if n not in gone}} if any(n in mark for n in gone) else None

    def block_marked(block: Block) -> list[Block] | None:
        inner = map_inner(block, lambda item: _applied(item, marked(item)))
        fields = marked(block.data)
        if fields is None:
            return None if inner is None else [inner]
        return [(inner or block).replace(drop=[_NAME] if not fields else [], **fields)]

    def tool_marked(tool: Tool) -> Tool:
        fields = marked(tool.data) if _NAME.encode() in bytes(tool.raw) else None
        return tool if fields is None else tool.replace(drop=[_NAME] if not fields else [], **fields)

    if draft.mentions(_MARK):
        messages = map_blocks(draft.messages, block_marked, marks=(_MARK,))
        draft = draft if messages is draft.messages else replace(draft, messages=messages)
    if isinstance(draft.system, tuple):
        system = tuple((block_marked(block) or [block])[0] for block in draft.system)
        if any(new is not old for new, old in zip(system, draft.system, strict=True)):
            draft = replace(draft, system=system)
    if draft.tools is not None:
        tools = tuple(tool_marked(tool) for tool in draft.tools)
        if any(new is not old for new, old in zip(tools, draft.tools, strict=True)):
            draft = replace(draft, tools=tools)
    fields = marked({_NAME: draft.value(_NAME)})
    return draft.with_field(_NAME, fields[_NAME]) if fields else draft


def _applied(item: dict[str, Any], fields: dict[str, object] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {**{name: value for name, value in item.items() if name != _NAME}, **fields}
