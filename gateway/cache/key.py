"""The name of a request: equal for requests that differ only in how they are written down.

Everything that can change the answer is in it, fields of tomorrow too: only what surely does not count is left
out. Two requests of different meaning must never share a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.request import MessagesRequest

__all__ = ["cache_key"]

_FORM = 1
"""Counted up when the canonical form changes."""

_LEFT_OUT = frozenset({"stream", "metadata", "cache_control", "messages", "system"})
_ATTRIBUTION = "x-anthropic-billing-header:"
"""Begins a first system block that names the client's build and conversation; no model is to see it."""

_EXACT_INTEGERS = 2**53


def cache_key(
    request: MessagesRequest, *, subject: str, target: str, revision: str, headers: Mapping[str, str]
) -> bytes:
    """32 bytes. `target` names the upstream and its model, `revision` the state of the caller's workspace ("" when
    answers do not depend on it), `headers` are the client's with names in small letters.

    Cosmetic: order of fields and betas, white space, a text or a list of one text, cache marks, the attribution
    block, `1` or `1.0`, streamed or not, `metadata`, explicit nulls.
    """
    fields = {
        name: _ordered(value) if name != "output_config" else value
        for name in sorted(request.fields)
        if name not in _LEFT_OUT and (value := request.get(name)) is not None
    }
    form = [
        _FORM,
        subject,
        target,
        revision,
        headers.get("anthropic-version", ""),
        sorted({beta.strip() for beta in headers.get("anthropic-beta", "").split(",")} - {""}),
        fields,
        _system(request.get("system")),
        [_message(message) for message in request.get("messages")],
    ]
    return sha256(jsonbytes.encode(form)).digest()


def _system(system: Any) -> list[Any]:
    blocks = _blocks(system)
    if blocks and isinstance(blocks[0], dict) and str(blocks[0].get("text", "")).startswith(_ATTRIBUTION):
        return blocks[1:]
    return blocks


def _message(message: Mapping[str, Any]) -> object:
    others = {name: value for name, value in message.items() if name != "content"}
    return [_ordered(others), _blocks(message.get("content"))]


def _blocks(content: Any) -> list[Any]:
    """Content as a list of blocks without their cache marks."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"text": content, "type": "text"}]
    if not isinstance(content, list):
        return [_ordered(content)]
    return [_block(item) for item in content]


def _block(block: Any) -> object:
    """Marks are taken off blocks only: inside a tool's input `cache_control` would be the tool's own word."""
    if not isinstance(block, dict):
        return _ordered(block)
    inner = block.get("content")
    fields = {name: value for name, value in block.items() if name not in ("cache_control", "content")}
    normal = _ordered(fields)
    if block.get("type") in ("tool_result", "search_result") and inner is not None:
        return [normal, _blocks(inner)]
    return [normal, _ordered(inner)] if inner is not None else normal


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value) if value[name] is not None}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value
