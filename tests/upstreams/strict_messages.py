"""Says what a server of the Messages API refuses beyond what the vendor's own refuses.

Plain functions over plain data; the API's own rules are the scripted upstream's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.messages.request import MessagesRequest

__all__ = ["VERSIONS", "complaints"]

VERSIONS = ("2023-06-01", "2026-10-21")
_SAMPLING = ("temperature", "top_p", "top_k")
_SERVER_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "advisor_")
_EVERY = frozenset({"anthropic", "azure", "azure-hosted", "databricks-anthropic"})
_REFUSED_FIELDS: Mapping[str, frozenset[str]] = {
    "container": frozenset({"azure-hosted", "databricks-anthropic"}),
    "mcp_servers": frozenset({"azure-hosted", "databricks-anthropic"}),
    "safeguards": frozenset({"databricks-anthropic"}),
    "fallbacks": _EVERY - {"anthropic"},
    "tags": frozenset({"databricks-anthropic"}),
}
"""Top-level fields, and who refuses them."""

_NO_SCOPE = _EVERY - {"anthropic"}
_NO_SERVER_TOOLS = frozenset({"azure-hosted", "databricks-anthropic"})
_NO_FORMAT = frozenset({"azure-hosted"})
_NO_SYSTEM_ENTRIES = frozenset({"databricks-anthropic"})
_BASE64_ONLY = frozenset({"databricks-anthropic"})
_NO_FILES = frozenset({"azure-hosted", "databricks-anthropic"})


def complaints(request: MessagesRequest, headers: Mapping[str, str], dialect: str) -> list[str]:
    """What the server of this dialect would refuse, each with the path of the fault; empty when it would answer."""
    return [*_by_version(request, headers), *_by_dialect(request, dialect)]


def _by_version(request: MessagesRequest, headers: Mapping[str, str]) -> Iterator[str]:
    version = headers.get("anthropic-version", "")
    if version not in VERSIONS:
        yield f"anthropic-version: {version!r} is not a valid version"
    if version == VERSIONS[1]:
        yield from (f"{name}: not supported in this API version" for name in _SAMPLING if name in request.fields)
        for at, message in enumerate(request.messages):
            for nth, block in enumerate(message.blocks):
                where = f"messages.{at}.content.{nth}"
                if message.role == "assistant" and block.type == "document":
                    yield f"{where}: document blocks are not supported in assistant messages"
                if message.role == "user" and block.type == "text" and block.get("citations"):
                    yield f"{where}.citations: not supported on user text"


def _by_dialect(request: MessagesRequest, dialect: str) -> Iterator[str]:
    for name, refusing in _REFUSED_FIELDS.items():
        if name in request.fields and dialect in refusing:
            yield f"{name}: Extra inputs are not permitted"
    for at, tool in enumerate(request.tools):
        if dialect in _NO_SERVER_TOOLS and tool.type.startswith(_SERVER_TOOLS):
            yield f"tools.{at}: Input tag '{tool.type}' does not match any of the expected tags"
    if dialect in _NO_FORMAT and "format" in (request.get("output_config") or {}):
        yield "output_config.format: structured outputs are not available"
    if dialect in _NO_SYSTEM_ENTRIES:
        for at, message in enumerate(request.messages):
            if message.role == "system":
                yield f"messages.{at}.role: Input should be 'user' or 'assistant'"
    thinking = request.get("thinking") or {}
    if (
        dialect == "databricks-anthropic"
        and "opus-5-5" in request.model
        and thinking.get("type") in ("enabled", "disabled")
    ):
        yield f"thinking.type: '{thinking['type']}' is not supported for this model, use 'adaptive'"
    yield from _walk({name: request.get(name) for name in ("system", "messages", "tools")}, "", dialect)


def _walk(value: object, path: str, dialect: str) -> Iterator[str]:
    if isinstance(value, dict):
        mark = value.get("cache_control")
        if dialect in _NO_SCOPE and isinstance(mark, dict) and "scope" in mark:
            yield f"{path}.cache_control.ephemeral.scope: Extra inputs are not permitted"
        if value.get("type") in ("image", "document") and isinstance(value.get("source"), dict):
            yield from _source(value["source"], path, dialect)
        for name, item in value.items():
            if name not in ("input", "input_schema"):
                yield from _walk(item, f"{path}.{name}" if path else str(name), dialect)
    elif isinstance(value, list):
        for nth, item in enumerate(value):
            yield from _walk(item, f"{path}.{nth}", dialect)


def _source(source: Mapping[str, Any], path: str, dialect: str) -> Iterator[str]:
    kind = source.get("type")
    if kind == "url" and dialect in _BASE64_ONLY:
        yield f"{path}.source: URL sources are not supported"
    if kind == "file" and dialect in _NO_FILES:
        yield f"{path}.source: file ids are not supported"
