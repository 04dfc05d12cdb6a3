"""Retells what server tools did, for upstreams that do not know their blocks.

A model that is not shown an earlier search would search again, or deny that it did. So calls and results become
text where they stood: nothing is left out but what no model can read (encrypted and binary content, of which the
text says that it was there). Each block is retold by itself, so a conversation that goes on keeps its prefix.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, text_block
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks
from gateway.providers.adapt.features import BLOCK_OWNERS, CALL_OWNERS

__all__ = ["folded", "foreign"]

_MARKS = (b"server_tool_use", b"mcp_tool_", b"_tool_result", b'"fallback"')
_CLIENT_BLOCKS = frozenset({"tool_use", "tool_result"})
_OPAQUE = frozenset({"data", "encrypted_content", "encrypted_index", "encrypted_stdout", "signature"})
_SILENT = frozenset({"fallback", "mcp_tool_listing"})
"""Blocks that tell about the service, not about the conversation."""


def folded(draft: Draft, capabilities: Capabilities) -> Draft:
    """Assistant blocks of server tools that the upstream does not have, as text."""

    def fold(block: Block) -> list[Block] | None:
        if not foreign(block, capabilities):
            return _uncited(block, capabilities)
        if block.type in _SILENT:
            return []
        return [text_block(_call(block) if _is_call(block) else _result(block))]

    marks = _MARKS if capabilities.has("web_search") else (*_MARKS, b"web_search_result_location")
    if not draft.mentions(*marks):
        return draft
    messages = map_blocks(draft.messages, fold, role="assistant", marks=marks)
    return draft if messages is draft.messages else replace(draft, messages=messages)


def _is_call(block: Block) -> bool:
    return block.type in ("server_tool_use", "mcp_tool_use")


def foreign(block: Block, capabilities: Capabilities) -> bool:
    """Whether the block is of a server tool that the upstream does not have, so that it becomes text."""
    if block.type in _CLIENT_BLOCKS or block.type == "compaction":
        return False
    if block.type == "server_tool_use":
        owner = CALL_OWNERS.get(str(block.get("name")))
    else:
        owner = BLOCK_OWNERS.get(block.type)
        if owner is None and not block.type.endswith("_tool_result"):
            return False
    return not (capabilities.open if owner is None else capabilities.has(owner))


def _uncited(block: Block, capabilities: Capabilities) -> list[Block] | None:
    """Text without citations of search results that are no longer there to be cited."""
    citations = block.get("citations") if block.type == "text" else None
    if not isinstance(citations, list) or capabilities.has("web_search"):
        return None
    kept = [
        item for item in citations if not isinstance(item, dict) or item.get("type") != "web_search_result_location"
    ]
    if len(kept) == len(citations):
        return None
    return [block.replace(citations=kept) if kept else block.replace(drop=["citations"])]


def _call(block: Block) -> str:
    server = block.get("server_name")
    name = f"{server}/{block.get('name')}" if server else str(block.get("name"))
    return f"[Called {name} with {_json(block.get('input') or {})}]"


def _result(block: Block) -> str:
    name = block.type.removesuffix("_tool_result")
    failed = " failed" if block.get("is_error") is True else ""
    told = "\n".join(_told(block.get("content"))).strip()
    return f"[Result of {name}{failed}]\n{told or '(nothing)'}\n[End of result]"


def _told(content: Any) -> Iterator[str]:
    """Lines that say what a result held."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _told(item)
    elif isinstance(content, dict):
        yield from _told_object(content)
    elif content is not None:
        yield _json(content)


def _told_object(item: Mapping[str, Any]) -> Iterator[str]:
    match item.get("type"):
        case "text":
            yield str(item.get("text", ""))
        case "web_search_result":
            yield f"- {item.get('title')}: {item.get('url')}"
        case "web_fetch_result":
            yield f"{item.get('url')}:"
            yield from _told(item.get("content"))
        case "document":
            yield from _told_document(item)
        case "tool_reference":
            yield f"Found the tool {item.get('tool_name')}."
        case _:
            yield _json(_readable(item))


def _told_document(item: Mapping[str, Any]) -> Iterator[str]:
    source = item.get("source")
    if item.get("title"):
        yield str(item["title"])
    if isinstance(source, dict) and source.get("type") == "text":
        yield str(source.get("data", ""))
    elif isinstance(source, dict) and source.get("type") == "content":
        yield from _told(source.get("content"))
    else:
        yield "(a document that is not text)"


def _readable(value: Any) -> Any:
    """The value without content that only a machine can read."""
    if isinstance(value, dict):
        return {
            name: "(not readable)" if name in _OPAQUE and isinstance(item, str) else _readable(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value


def _json(value: Any) -> str:
    return jsonbytes.encode(value).decode()
