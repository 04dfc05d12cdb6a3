"""Whether a request may be answered from memory: a pure decision with a reason.

The rule: the answer depends on the request alone, making it had no effect, and the client did not ask for a
fresh one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.messages.blocks import Tool
from gateway.messages.request import MessagesRequest

__all__ = ["MOST_REQUEST_BYTES", "REASONS", "CacheDecision", "decide"]

MOST_REQUEST_BYTES = 1024 * 1024
"""Larger requests are seldom repeated, and naming them would cost more than it saves."""

REASONS: Mapping[str, str] = {
    "eligible": "The answer may come from memory, and is kept.",
    "disabled": "The cache is switched off.",
    "no_store": "The client sent `cache-control: no-store` or `no-cache`.",
    "tools": "The request offers tools.",
    "server_tools": "The request offers tools that the API's side runs, or names a container or MCP servers.",
    "thread": "The request continues a conversation that is kept elsewhere.",
    "remote_source": "An image or document is named by URL or file id: what it holds may change.",
    "max_tokens_zero": "The request only warms the model's own cache.",
    "too_large": f"The request is larger than {MOST_REQUEST_BYTES // 1024} KiB.",
}
"""Every reason a decision may have."""

_FIELDS: Mapping[str, str] = {
    "thread": "thread",
    "container": "server_tools",
    "mcp_servers": "server_tools",
    "fallback_credit_token": "thread",
}
"""Fields that keep a request from the cache when they say anything."""

_REMOTE_MARKS = (b'"url"', b'"file"', b'"file_id"')
_OUTSIDE = frozenset({"url", "file"})
_EMPTY = (b"null", b"[]", b"{}", b'""')


@dataclass(frozen=True, slots=True)
class CacheDecision:
    """`use`: look it up and keep the answer. `reason` is one of `REASONS`."""

    use: bool
    reason: str

    @property
    def headers(self) -> Mapping[str, str]:
        """What the client is told of a request that bypasses the cache; nothing while it is switched off."""
        if self.use or self.reason == "disabled":
            return {}
        return {"x-bulkhead-cache": f"bypass; reason={self.reason}"}


def decide(
    request: MessagesRequest, *, enabled: bool, gateway_runs_tools: bool, headers: Mapping[str, str]
) -> CacheDecision:
    """Judge one request. `headers` are the client's, names in small letters. `gateway_runs_tools`: the gateway
    would offer the model tools of its own."""
    reason = _reason(request, enabled, gateway_runs_tools, headers)
    return CacheDecision(reason == "eligible", reason)


def _reason(request: MessagesRequest, enabled: bool, gateway_runs_tools: bool, headers: Mapping[str, str]) -> str:
    if not enabled:
        return "disabled"
    if _wants_fresh(headers.get("cache-control", "")):
        return "no_store"
    for name, reason in _FIELDS.items():
        raw = request.fields.get(name)
        if raw is not None and bytes(raw) not in _EMPTY:
            return reason
    if any(_server_side(tool) for tool in request.tools):
        return "server_tools"
    if request.tools or gateway_runs_tools:
        return "tools"
    if request.max_tokens == 0:
        return "max_tokens_zero"
    if sum(len(memoryview(raw)) for raw in request.fields.values()) > MOST_REQUEST_BYTES:
        return "too_large"
    if _names_outside(request):
        return "remote_source"
    return "eligible"


def _wants_fresh(directives: str) -> bool:
    return not {"no-store", "no-cache"}.isdisjoint(part.strip().lower() for part in directives.split(","))


def _server_side(tool: Tool) -> bool:
    kind = tool.get("type")
    return kind is not None and kind != "custom"


def _names_outside(request: MessagesRequest) -> bool:
    """Whether a source in the messages lies elsewhere. Decodes only where the bytes speak of it."""
    raw = bytes(request.fields["messages"])
    if not any(mark in raw for mark in _REMOTE_MARKS):
        return False
    return any(_is_outside(found) for found in _objects(request.get("messages")))


def _is_outside(value: Mapping[str, Any]) -> bool:
    source = value.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    return value.get("type") == "container_upload" or (isinstance(kind, str) and kind in _OUTSIDE)


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value, itself included; no deeper than the parser lets one be."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)
