"""Takes tools out of a request and what refers to them with it.

A `tool_choice` that names a tool which is gone, or asks for a call where there is no tool, is a 400 everywhere.
"""

from dataclasses import replace

from gateway.messages.blocks import Block, Tool
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks
from gateway.providers.adapt.features import FEATURES, tool_owner, undated

__all__ = ["CLIENT_TOOLS", "with_known_tools", "with_plain_fields", "with_tools"]

CLIENT_TOOLS = frozenset({"bash", "computer", "custom", "memory", "text_editor"})
"""Tool types, undated, that the client runs. The chat translator words their schemas itself."""


def with_tools(draft: Draft, tools: tuple[Tool, ...]) -> Draft:
    """The draft with these tools in place of its own; an emptied list is left out, its `tool_choice` too."""
    if tools == (draft.tools or ()):
        return draft
    changed = replace(draft, tools=tools or None)
    choice = draft.value("tool_choice")
    if not isinstance(choice, dict):
        return changed
    if not tools:
        return changed.without("tool_choice")
    if choice.get("type") == "tool" and all(choice.get("name") != tool.name for tool in tools):
        kept = {name: value for name, value in choice.items() if name == "disable_parallel_tool_use"}
        return changed.with_field("tool_choice", {"type": "auto", **kept})
    return changed


def with_known_tools(draft: Draft, capabilities: Capabilities) -> Draft:
    """Without the tools that only another upstream could run."""
    if draft.tools is None:
        return draft
    return with_tools(draft, tuple(tool for tool in draft.tools if _known(tool, capabilities)))


def _known(tool: Tool, capabilities: Capabilities) -> bool:
    owner = tool_owner(tool.type)
    if owner is not None:
        return capabilities.has(owner)
    return capabilities.open or undated(tool.type) in CLIENT_TOOLS or "input_schema" in tool.data


def with_plain_fields(draft: Draft, capabilities: Capabilities) -> Draft:
    """Tools and calls without the optional fields of features that the upstream lacks."""
    lacking = [feature for name, feature in FEATURES.items() if not capabilities.has(name)]
    names = [name for feature in lacking for name in feature.tool_fields]
    if draft.tools is not None and names:
        marks = [name.encode() for name in names]
        tools = tuple(_stripped(tool, names, marks) for tool in draft.tools)
        if any(tool is not old for tool, old in zip(tools, draft.tools, strict=True)):
            draft = replace(draft, tools=tools)
    calls = [name for feature in lacking for name in feature.call_fields]
    if not calls:
        return draft

    def plain(block: Block) -> list[Block] | None:
        if block.type != "tool_use" or not any(name in block.data for name in calls):
            return None
        return [block.replace(drop=calls)]

    marked = tuple(f'"{name}"'.encode() for name in calls)
    if not draft.mentions(*marked):
        return draft
    messages = map_blocks(draft.messages, plain, role="assistant", marks=marked)
    return draft if messages is draft.messages else replace(draft, messages=messages)


def _stripped(tool: Tool, names: list[str], marks: list[bytes]) -> Tool:
    data = bytes(tool.raw)
    if not any(mark in data for mark in marks) or not any(name in tool.data for name in names):
        return tool
    return tool.replace(drop=names)
