"""What of a request reaches the model, and what the API adds to it.

Knows content blocks and tools; must not know how a text is priced. Every string that the model reads is
gathered and priced at once; images, PDFs and fixed texts of the API are numbers beside it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message, Tool
from gateway.messages.errors import InvalidRequest
from gateway.messages.jsonbytes import Raw
from gateway.messages.request import MessagesRequest
from gateway.providers.estimate.media import IMAGE_TOKENS, PAGE_TOKENS, image_tokens, pdf_tokens
from gateway.providers.estimate.text import weigh_text

__all__ = ["estimate_tokens"]

REQUEST_TOKENS = 3
MESSAGE_TOKENS = 3
"""Role markers: the vendor counts 14 tokens for a four-word system prompt and a greeting."""

TOOLS_TOKENS = 346
"""The API's own system text when a request has tools (its published figure)."""

TOOL_TOKENS = 12
CALL_TOKENS = 12
"""The frame of one tool's definition, and of one call or result with its ids."""

SERVER_TOOL_TOKENS = (("bash_", 245), ("text_editor_", 700), ("computer_", 735), ("", 500))
"""Definitions that the API itself holds, by the beginning of their type; published figures, the last a guess."""

OPAQUE = {"signature": 6, "data": 6, "encrypted_content": 6, "encrypted_stdout": 6, "encrypted_index": 24}
"""Characters of sealed fields to one token of what they hold: they are base64 around compressed text."""

SILENT = frozenset({"type", "cache_control", "id", "tool_use_id", "citations", "caller", "is_error"})
"""Fields of a block the model does not read as text."""

DEEPEST = 8
"""Blocks within blocks; what lies deeper is priced as its JSON."""


@dataclass(slots=True)
class _Gathered:
    """`texts` are to be priced together, `tokens` are certain already."""

    tokens: float = REQUEST_TOKENS
    texts: list[str] = field(default_factory=list)
    referenced: set[str] = field(default_factory=set)

    def json(self, value: object) -> None:
        self.texts.append(jsonbytes.encode(value).decode())


def estimate_tokens(request: MessagesRequest) -> int:
    """Input tokens of a request, some 40 ms for a megabyte. Never raises on a parsed request."""
    found = _Gathered()
    _system(request, found)
    for message in request.messages:
        _message(message, found)
    _tools(request.tools, found)
    if "output_config" in request.fields:
        found.texts.append(_raw(request.fields["output_config"]))
    return max(1, math.ceil(round(found.tokens + weigh_text("\n".join(found.texts)), 6)))


def _system(request: MessagesRequest, found: _Gathered) -> None:
    if request.system is None:
        return
    try:
        found.texts.append(request.system_text)
    except (InvalidRequest, ValueError):
        found.texts.append(_raw(request.system))


def _message(message: Message, found: _Gathered) -> None:
    found.tokens += MESSAGE_TOKENS
    if isinstance(message.content, str):
        found.texts.append(message.content)
        return
    for block in message.content:
        data = _decoded(block)
        if data is None:
            found.texts.append(_raw(block.raw))
        else:
            _block(data, found, DEEPEST)


def _tools(tools: Iterable[Tool], found: _Gathered) -> None:
    counted = [tool for tool in tools if _in_context(tool, found.referenced)]
    if counted:
        found.tokens += TOOLS_TOKENS
    for tool in counted:
        if tool.type != "custom":
            found.tokens += next(tokens for prefix, tokens in SERVER_TOOL_TOKENS if tool.type.startswith(prefix))
            continue
        found.tokens += TOOL_TOKENS
        data = _decoded(tool)
        if data is None:
            found.texts.append(_raw(tool.raw))
            continue
        description = data.get("description")
        found.texts.append(tool.name)
        if isinstance(description, str):
            found.texts.append(description)
        found.json({name: data[name] for name in ("input_schema", "input_examples") if name in data})


def _in_context(tool: Tool, referenced: set[str]) -> bool:
    """A deferred tool is kept from the model until a search has named it."""
    data = _decoded(tool)
    return data is None or data.get("defer_loading") is not True or tool.name in referenced


def _block(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    kind = data.get("type")
    count = _BLOCKS.get(kind, _other) if isinstance(kind, str) and depth else _other
    count(data, found, depth - 1)


def _content(value: object, found: _Gathered, depth: int) -> None:
    """Text, or a list of blocks."""
    if isinstance(value, str):
        found.texts.append(value)
    elif isinstance(value, list) and depth > 0:
        for item in value:
            if isinstance(item, dict):
                _block(item, found, depth)
            else:
                found.json(item)
    elif value is not None:
        found.json(value)


def _text(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    _content(data.get("text"), found, depth)


def _thinking(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    text = data.get("thinking")
    if isinstance(text, str) and text:
        found.texts.append(text)
    else:
        _opaque("signature", data, found)


def _tool_use(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    found.tokens += CALL_TOKENS
    found.texts.append(str(data.get("name", "")))
    found.json(data.get("input"))


def _tool_result(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    found.tokens += CALL_TOKENS
    _content(data.get("content"), found, depth)


def _tool_reference(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    name = data.get("tool_name")
    if isinstance(name, str):
        found.referenced.add(name)
        found.texts.append(name)


def _search_result(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    for name in ("title", "source", "content"):
        _content(data.get(name), found, depth)


def _image(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    encoded = _source(data).get("data")
    found.tokens += image_tokens(encoded) if isinstance(encoded, str) else IMAGE_TOKENS


def _document(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    source = _source(data)
    kind, encoded = source.get("type"), source.get("data")
    _content(data.get("title"), found, depth)
    _content(data.get("context"), found, depth)
    if kind == "content":
        _content(source.get("content"), found, depth)
    elif kind == "text":
        _content(encoded, found, depth)
    else:
        found.tokens += pdf_tokens(encoded) if isinstance(encoded, str) else PAGE_TOKENS


def _other(data: Mapping[str, Any], found: _Gathered, depth: int) -> None:
    """A block type of tomorrow, or the result of a server tool: its JSON, sealed fields by their length."""
    found.tokens += CALL_TOKENS
    found.json(_unsealed(data, found, DEEPEST))


def _unsealed(value: Any, found: _Gathered, depth: int) -> Any:
    if isinstance(value, dict) and depth:
        for name in OPAQUE:
            _opaque(name, value, found)
        kept = (name for name in value if name not in SILENT and not (name in OPAQUE and isinstance(value[name], str)))
        return {name: _unsealed(value[name], found, depth - 1) for name in kept}
    if isinstance(value, list) and depth:
        return [_unsealed(item, found, depth - 1) for item in value]
    return value


def _opaque(name: str, data: Mapping[str, Any], found: _Gathered) -> None:
    sealed = data.get(name)
    if isinstance(sealed, str):
        found.tokens += len(sealed) / OPAQUE[name]


def _source(data: Mapping[str, Any]) -> Mapping[str, Any]:
    source = data.get("source")
    return source if isinstance(source, dict) else {}


def _decoded(part: Block | Tool) -> dict[str, Any] | None:
    """None where it cannot be decoded: bodies are checked as JSON, not down to the range of every number."""
    try:
        return part.data
    except InvalidRequest:
        return None


def _raw(raw: Raw) -> str:
    return bytes(raw).decode(errors="replace")


_Count = Callable[[Mapping[str, Any], _Gathered, int], None]

_BLOCKS: dict[str, _Count] = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
    "mcp_tool_use": _tool_use,
    "tool_result": _tool_result,
    "mcp_tool_result": _tool_result,
    "tool_reference": _tool_reference,
    "search_result": _search_result,
    "image": _image,
    "document": _document,
}
