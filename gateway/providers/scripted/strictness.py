"""Refuses what the real API refuses, so that a gateway's mistake fails in tests and not in production.

Pure checks over a parsed request, in the API's wording. More permissive in one way only: any model name
and any credential will do.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.messages.blocks import SERVER_TOOLS, Block, Message
from gateway.messages.errors import ApiError, InvalidRequest
from gateway.messages.pairing import check_pairing
from gateway.messages.request import MessagesRequest

__all__ = ["GatewayLeak", "check", "signature"]

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_SERVER_ID = re.compile(r"srvtoolu_[a-zA-Z0-9_]+")
_MAX_CACHE_MARKS = 4

_USER = {"text", "image", "document", "search_result", "tool_result", "container_upload"}
_ASSISTANT = {"text", "image", "document", "thinking", "redacted_thinking", "tool_use", "server_tool_use"}
_ASSISTANT |= {"mcp_tool_use", "mcp_tool_result", "mcp_tool_listing", "compaction", "fallback"}
_ASSISTANT |= {"code_execution_tool_result", "bash_code_execution_tool_result", "web_search_tool_result"}
_ASSISTANT |= {"text_editor_code_execution_tool_result", "web_fetch_tool_result", "advisor_tool_result"}
_ASSISTANT |= {"tool_search_tool_result", "tool_result"}  # a misplaced tool_result has its own refusal
_SYSTEM = {"text", "tool_addition", "tool_removal"}
_BLOCKS: Mapping[str, set[str]] = {"user": _USER | {"tool_use"}, "assistant": _ASSISTANT, "system": _SYSTEM}
_OWN_FIELDS = ("gateway", "display_only")


class GatewayLeak(InvalidRequest):
    """A field that only the gateway and its client know has reached the model."""


def signature(thinking: str) -> str:
    """The signature of a thinking text: computed, so that it can be checked when it comes back."""
    return "sig_" + hashlib.sha256(thinking.encode("utf-8", "replace")).hexdigest()


def check(request: MessagesRequest, headers: Mapping[str, str], signatures: Collection[str]) -> None:
    """Raises the `ApiError` that the real API would answer with."""
    if not (headers.get("x-api-key") or headers.get("authorization") or headers.get("api-key")):
        raise ApiError(401, "authentication_error", "x-api-key header is required")
    if not headers.get("anthropic-version"):
        raise InvalidRequest("anthropic-version: header is required")
    for at, message in enumerate(request.messages):
        _check_message(message, at, len(request.messages), signatures)
    _check_system_entries(request.messages)
    _check_tools(request)
    check_pairing(request.messages)
    marks = sum(_cache_marks(request))
    if marks > _MAX_CACHE_MARKS:
        raise InvalidRequest(
            f"A maximum of {_MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {marks}."
        )
    turns = [message.role for message in request.messages if message.role != "system"]
    if turns[-1] == "assistant" and not _paused(request.messages[-1]):
        raise InvalidRequest(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _paused(message: Message) -> bool:
    """Whether the answer stopped (`pause_turn`) with a server tool of the API at work: it is sent back to go on."""
    return bool(message.blocks) and message.blocks[-1].type == "server_tool_use"


def _check_message(message: Message, at: int, count: int, signatures: Collection[str]) -> None:
    path = f"messages.{at}"
    if not message.content and message.role != "system":
        raise InvalidRequest(
            f"{path}: all messages must have non-empty content except for the optional final assistant message"
        )
    for nth, block in enumerate(message.blocks):
        where = f"{path}.content.{nth}"
        if block.type not in _BLOCKS[message.role]:
            raise InvalidRequest(
                f"{where}: Input tag '{block.type}' found using 'type' does not match any of the expected tags"
            )
        _check_block(block.data, where, signatures)


def _check_block(block: Mapping[str, Any], path: str, signatures: Collection[str]) -> None:
    for name in _OWN_FIELDS:
        if name in block:
            raise GatewayLeak(f"{path}.{block.get('type')}.{name}: Extra inputs are not permitted")
    match block.get("type"):
        case "text":
            text = block.get("text")
            if not isinstance(text, str):
                raise InvalidRequest(f"{path}.text.text: Field required")
            if not text:
                raise InvalidRequest("messages: text content blocks must be non-empty")
            if not text.strip():
                raise InvalidRequest("messages: text content blocks must contain non-whitespace text")
        case "thinking":
            given = block.get("signature")
            if given != signature(str(block.get("thinking", ""))) and given not in signatures:
                raise InvalidRequest(f"{path}: Invalid `signature` in `thinking` block")
        case "tool_use":
            _check_call(block, path, _CALL_ID)
        case "server_tool_use":
            _check_call(block, path, _SERVER_ID)
            if block["name"] not in SERVER_TOOLS:
                raise InvalidRequest(f"{path}.server_tool_use.name: Input should be a server tool")
        case "tool_result":
            content = block.get("content")
            for nth, part in enumerate(content if isinstance(content, list) else []):
                if not isinstance(part, dict):
                    raise InvalidRequest(f"{path}.tool_result.content.{nth}: Input should be a valid dictionary")
                _check_block(part, f"{path}.tool_result.content.{nth}", signatures)


def _check_call(block: Mapping[str, Any], path: str, form: re.Pattern[str]) -> None:
    path = f"{path}.{block['type']}"
    if not isinstance(block.get("input"), dict):
        raise InvalidRequest(f"{path}.input: Input should be a valid dictionary")
    for name, pattern in (("id", form), ("name", _TOOL_NAME)):
        if not isinstance(block.get(name), str) or not pattern.fullmatch(block[name]):
            raise InvalidRequest(f"{path}.{name}: String should match pattern '^{pattern.pattern}$'")


def _check_system_entries(messages: list[Message]) -> None:
    for at, message in enumerate(messages):
        if message.role != "system":
            continue
        before = messages[at - 1]
        after = messages[at + 1].role if at + 1 < len(messages) else "assistant"
        served = before.role == "assistant" and bool(before.blocks) and before.blocks[-1].type != "tool_use"
        if (before.role != "user" and not served) or after != "assistant":
            raise InvalidRequest(
                f"messages.{at}: a `system` message must follow a user turn and be last or followed by an "
                "assistant turn"
            )


def _check_tools(request: MessagesRequest) -> None:
    for at, tool in enumerate(request.tools):
        if tool.name and not _TOOL_NAME.fullmatch(tool.name):
            raise InvalidRequest(f"tools.{at}.custom.name: String should match pattern '^{_TOOL_NAME.pattern}$'")
        if tool.type == "custom" and not isinstance(tool.get("input_schema"), dict):
            raise InvalidRequest(f"tools.{at}.custom.input_schema: Field required")
        for name in _OWN_FIELDS:
            if name in tool.data:
                raise GatewayLeak(f"tools.{at}.{name}: Extra inputs are not permitted")
    choice = request.tool_choice or {}
    if choice.get("type") not in (None, "auto", "any", "tool", "none"):
        raise InvalidRequest("tool_choice: Input tag does not match any of 'auto', 'any', 'tool', 'none'")
    if choice.get("type") == "tool" and choice.get("name") not in {tool.name for tool in request.tools}:
        raise InvalidRequest(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _cache_marks(request: MessagesRequest) -> Iterator[int]:
    marked = request.system is not None and b"cache_control" in bytes(request.system)
    places: list[Block] = [*request.system_blocks] if marked else []
    for message in request.messages:
        places.extend(message.blocks)
    yield sum(block.get("cache_control") is not None for block in places)
    yield sum(tool.get("cache_control") is not None for tool in request.tools)
    nested = (block.get("content") for block in places if block.type == "tool_result")
    parts = (part for content in nested if isinstance(content, list) for part in content)
    yield sum(isinstance(part, dict) and part.get("cache_control") is not None for part in parts)
