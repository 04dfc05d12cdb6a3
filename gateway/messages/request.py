"""A Messages API request: checked like the API does, sent on byte for byte where nothing was changed.

Knows the request's shape. Must not know what a gateway does with it. Unknown fields, block types, tool
types and betas are never an error: newer clients send them.
"""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message, Tool, text_block
from gateway.messages.errors import InvalidRequest
from gateway.messages.jsonbytes import Raw

__all__ = ["MAX_MESSAGES", "MessagesRequest"]

MAX_MESSAGES = 100_000
"""The API's own limit of messages in one request."""


class MessagesRequest:
    """The parsed body of `/v1/messages` or `/v1/messages/count_tokens`.

    `fields` is the whole top level, undecoded and in the client's order. The attributes are what the
    gateway looks at. Change nothing in place: pass what differs to `encode`.
    """

    def __init__(
        self,
        fields: dict[str, Raw],
        *,
        counting: bool = False,
        messages: Sequence[Message] | None = None,
        tools: Sequence[Tool] | None = None,
    ) -> None:
        """`messages` and `tools`: what those fields hold, where it is at hand already."""
        self.fields = fields
        self.model = _string(fields, "model")
        self.max_tokens = 0 if counting and "max_tokens" not in fields else _max_tokens(fields)
        self.messages = _checked_messages(_messages(fields) if messages is None else list(messages))
        self.system = _system(fields)
        self.stream = _boolean(fields, "stream")
        self.tools = _checked_tools(_tools(fields) if tools is None else list(tools))
        self.tool_choice = _optional_object(fields, "tool_choice")
        self.user_id = _user_id(fields)

    @classmethod
    def parse(cls, body: bytes, *, counting: bool = False) -> "MessagesRequest":
        """Raises `InvalidRequest` in the API's wording. `counting`: max_tokens may be absent (then 0)."""
        try:
            body.decode()
            fields = jsonbytes.decode_fields(body)
        except msgspec.ValidationError as error:
            raise InvalidRequest("The request body should be a JSON object") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"The request body is not valid JSON: {error}") from error
        except RecursionError as error:
            raise _too_deep() from error
        if jsonbytes.deeper_than(jsonbytes.MAX_DEPTH, body):
            raise _too_deep()
        try:
            return cls(fields, counting=counting)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"The request body is not valid JSON: {error}") from error

    @cached_property
    def system_blocks(self) -> list[Block]:
        """The top-level system prompt as text blocks."""
        if self.system is None:
            return []
        if _is_string(self.system):
            text = jsonbytes.decode_any(self.system)
            return [text_block(text)] if text else []
        return [Block.parse(item, f"system.{at}") for at, item in enumerate(jsonbytes.decode_list(self.system))]

    @cached_property
    def system_text(self) -> str:
        """The top-level system prompt as one text, blocks joined by line ends; "" without one."""
        if self.system is not None and _is_string(self.system):
            return str(jsonbytes.decode_any(self.system))
        return "\n".join(str(block.get("text", "")) for block in self.system_blocks)

    def get(self, name: str) -> Any:
        """A top-level field, decoded; None when absent."""
        raw = self.fields.get(name)
        return None if raw is None else jsonbytes.decode_any(raw)

    def encode(self, *, drop: Collection[str] = (), **fields: object) -> bytes:
        """The body for the upstream: given fields replaced or appended, `drop` left out, the rest verbatim.

        Values may be plain Python, `Raw`, or `Message`, `Block` and `Tool` at any depth.
        """
        merged: dict[str, object] = {**self.fields, **fields}
        return jsonbytes.encode({name: value for name, value in merged.items() if name not in drop})


def _is_string(raw: Raw) -> bool:
    return memoryview(raw)[0] == ord('"')


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The request body nests deeper than {jsonbytes.MAX_DEPTH} levels")


def _required(fields: dict[str, Raw], name: str) -> Raw:
    try:
        return fields[name]
    except KeyError:
        raise InvalidRequest(f"{name}: Field required") from None


def _string(fields: dict[str, Raw], name: str) -> str:
    value = jsonbytes.decode_any(_required(fields, name))
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: Input should be a valid string")
    if not value:
        raise InvalidRequest(f"{name}: String should have at least 1 character")
    return value


def _max_tokens(fields: dict[str, Raw]) -> int:
    value = jsonbytes.decode_any(_required(fields, "max_tokens"))
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest("max_tokens: Input should be a valid integer")
    if value < 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 0")
    return value


def _boolean(fields: dict[str, Raw], name: str) -> bool:
    value = jsonbytes.decode_any(fields.get(name, Raw(b"false")))
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: Input should be a valid boolean")
    return value


def _list(raw: Raw, name: str) -> Sequence[Raw]:
    try:
        return jsonbytes.decode_list(raw)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{name}: Input should be a valid list") from error


def _messages(fields: dict[str, Raw]) -> list[Message]:
    items = _list(_required(fields, "messages"), "messages")
    if len(items) > MAX_MESSAGES:
        raise InvalidRequest(f"messages: List should have at most {MAX_MESSAGES} items, not {len(items)}")
    return [Message.parse(item, f"messages.{at}") for at, item in enumerate(items)]


def _checked_messages(messages: list[Message]) -> list[Message]:
    if not messages:
        raise InvalidRequest("messages: at least one message is required")
    if messages[0].role != "user":
        raise InvalidRequest('messages: first message must use the "user" role')
    return messages


def _system(fields: dict[str, Raw]) -> Raw | None:
    raw = fields.get("system")
    if raw is None or bytes(raw) == b"null":
        return None
    if _is_string(raw):
        return raw
    for at, item in enumerate(_list(raw, "system")):
        if Block.parse(item, f"system.{at}").type != "text":
            raise InvalidRequest(f"system.{at}.type: Input should be 'text'")
    return raw


def _tools(fields: dict[str, Raw]) -> list[Tool]:
    raw = fields.get("tools")
    if raw is None or bytes(raw) == b"null":
        return []
    return [Tool.parse(item, f"tools.{at}") for at, item in enumerate(_list(raw, "tools"))]


def _checked_tools(tools: list[Tool]) -> list[Tool]:
    names = [tool.name for tool in tools if tool.name]
    if len(names) != len(set(names)):
        raise InvalidRequest("tools: Tool names must be unique.")
    return tools


def _optional_object(fields: dict[str, Raw], name: str) -> dict[str, Any] | None:
    value = jsonbytes.decode_any(fields.get(name, Raw(b"null")))
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{name}: Input should be a valid dictionary")
    return value


def _user_id(fields: dict[str, Raw]) -> str | None:
    metadata = _optional_object(fields, "metadata") or {}
    value = metadata.get("user_id")
    if value is not None and not isinstance(value, str):
        raise InvalidRequest("metadata.user_id: Input should be a valid string")
    return value
