"""Content blocks, tools and messages that keep the bytes they came with.

A block the gateway does not change is sent on byte for byte, unknown types and fields included: the
client compares, providers sign, caches hash. Knows JSON objects; must not know requests as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.errors import InvalidRequest
from gateway.messages.jsonbytes import Raw

__all__ = ["ROLES", "SERVER_TOOLS", "Block", "Message", "Role", "Tool", "text_block", "tool_result", "tool_use"]

Role = Literal["user", "assistant", "system"]
ROLES: tuple[Role, ...] = ("user", "assistant", "system")

SERVER_TOOLS = frozenset(
    {
        "advisor",
        "bash_code_execution",
        "code_execution",
        "text_editor_code_execution",
        "tool_search_tool_bm25",
        "tool_search_tool_regex",
        "web_fetch",
        "web_search",
    }
)
"""Names of the tools that an upstream of the API runs itself; their pairs of blocks are the upstream's business."""


class _Verbatim:
    """A JSON object kept as bytes and decoded when somebody looks."""

    __slots__ = ("_data", "_path", "raw")

    def __init__(self, raw: Raw, path: str, data: dict[str, Any] | None = None) -> None:
        self.raw = raw
        self._path = path
        self._data = data

    @property
    def data(self) -> dict[str, Any]:
        """The decoded object. Do not change it: `replace` makes a changed copy."""
        if self._data is None:
            try:
                self._data = jsonbytes.decode_any(self.raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidRequest(f"{self._path}: {error}") from error
        assert self._data is not None
        return self._data

    def get(self, name: str, default: Any = None) -> Any:
        """One field of `data`."""
        return self.data.get(name, default)

    def _changed(self, fields: Mapping[str, object], drop: Iterable[str]) -> Raw:
        kept: dict[str, object] = dict(jsonbytes.decode_fields(self.raw))
        for name in drop:
            kept.pop(name, None)
        kept.update(fields)
        return Raw(jsonbytes.encode(kept))

    def __json__(self) -> Raw:
        return self.raw

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Verbatim) or type(other) is not type(self):
            return NotImplemented
        return bytes(self.raw) == bytes(other.raw)

    def __hash__(self) -> int:
        return hash(bytes(self.raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({bytes(self.raw)[:200]!r})"


class _BlockHead(msgspec.Struct):
    type: str


class _ToolHead(msgspec.Struct):
    name: str | None = None
    type: str | None = None


_block_head = msgspec.json.Decoder(_BlockHead)
_tool_head = msgspec.json.Decoder(_ToolHead)


class Block(_Verbatim):
    """One content block: its `type`, its bytes, its decoded `data`. Unknown types are blocks like any."""

    __slots__ = ("type",)

    def __init__(self, type: str, raw: Raw, path: str = "block", data: dict[str, Any] | None = None) -> None:  # noqa: A002
        super().__init__(raw, path, data)
        self.type = type

    @classmethod
    def parse(cls, raw: Raw, path: str) -> "Block":
        """`path` names the place in the request for error messages, as in `messages.0.content.2`."""
        try:
            return cls(_block_head.decode(raw).type, raw, path)
        except msgspec.ValidationError as error:
            raise _head_error(error, raw, path, "type") from error

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Block":
        """A block of our own making."""
        return cls(str(data["type"]), Raw(jsonbytes.encode(data)), data=dict(data))

    def replace(self, *, drop: Iterable[str] = (), **fields: object) -> "Block":
        """A copy with some fields set or dropped; the bytes of all others stay as they are."""
        raw = self._changed(fields, drop)
        return Block(str(fields.get("type", self.type)), raw, self._path)


class Tool(_Verbatim):
    """One entry of `tools`: `type` is "custom" when absent, `name` is "" where there is none (toolsets)."""

    __slots__ = ("name", "type")

    def __init__(
        self,
        name: str,
        type: str,  # noqa: A002
        raw: Raw,
        path: str = "tool",
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(raw, path, data)
        self.name = name
        self.type = type

    @classmethod
    def parse(cls, raw: Raw, path: str) -> "Tool":
        try:
            head = _tool_head.decode(raw)
        except msgspec.ValidationError as error:
            raise _head_error(error, raw, path, "name", "type") from error
        if not head.name and head.type in (None, "custom"):
            raise InvalidRequest(f"{path}.name: Field required")
        return cls(head.name or "", head.type or "custom", raw, path)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Tool":
        """A tool of our own making."""
        raw = Raw(jsonbytes.encode(data))
        return cls(str(data.get("name", "")), str(data.get("type", "custom")), raw, data=dict(data))

    def replace(self, *, drop: Iterable[str] = (), **fields: object) -> "Tool":
        """A copy with some fields set or dropped; the bytes of all others stay as they are."""
        return Tool.parse(self._changed(fields, drop), self._path)


def _head_error(error: Exception, raw: Raw, path: str, *names: str) -> InvalidRequest:
    try:
        fields = jsonbytes.decode_fields(raw)
    except msgspec.ValidationError:
        return InvalidRequest(f"{path}: Input should be a valid dictionary")
    for name in names:
        if name in fields and not bytes(fields[name]).startswith(b'"'):
            return InvalidRequest(f"{path}.{name}: Input should be a valid string")
    missing = next((name for name in names if name not in fields), None)
    return InvalidRequest(f"{path}.{missing}: Field required" if missing else f"{path}: {error}")


class Message:
    """One entry of `messages`.

    `content` is what was sent: a string or a list of blocks ([] where a system entry carries none).
    `extra` holds the fields besides role and content, undecoded. A parsed message keeps its bytes in
    `raw`; one made here has None there and is encoded from its parts.
    """

    __slots__ = ("_spoken", "content", "extra", "raw", "role")

    def __init__(
        self,
        role: Role,
        content: str | Sequence[Block],
        extra: Mapping[str, Raw] | None = None,
        raw: Raw | None = None,
    ) -> None:
        self.role = role
        self.content: str | list[Block] = content if isinstance(content, str) else list(content)
        self.extra: dict[str, Raw] = dict(extra or {})
        self.raw = raw
        self._spoken: list[Block] | None = None

    @classmethod
    def parse(cls, raw: Raw, path: str) -> "Message":
        try:
            fields = jsonbytes.decode_fields(raw)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{path}: Input should be a valid dictionary") from error
        role = _role(fields.pop("role", None), path)
        content = _content(fields.pop("content", None), role, fields, path)
        return cls(role, content, fields, raw)

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks: a non-empty string is one text block."""
        if not isinstance(self.content, str):
            return self.content
        if self._spoken is None:
            self._spoken = [text_block(self.content)] if self.content else []
        return self._spoken

    @property
    def text(self) -> str:
        """The text blocks of the content, joined by line ends."""
        if isinstance(self.content, str):
            return self.content
        texts = (block.get("text") for block in self.content if block.type == "text")
        return "\n".join(text for text in texts if isinstance(text, str))

    def with_content(self, content: str | Sequence[Block]) -> "Message":
        """The same message with other content; extra fields stay."""
        return Message(self.role, content, self.extra)

    def __json__(self) -> object:
        if self.raw is not None:
            return self.raw
        return {"role": self.role, "content": self.content, **self.extra}

    def __repr__(self) -> str:
        return f"Message({self.role!r}, {self.content!r})"


def _role(raw: Raw | None, path: str) -> Role:
    if raw is None:
        raise InvalidRequest(f"{path}.role: Field required")
    value = jsonbytes.decode_any(raw)
    for role in ROLES:
        if value == role:
            return role
    raise InvalidRequest(f"{path}.role: Input should be 'user', 'assistant' or 'system'")


def _content(raw: Raw | None, role: Role, extra: Mapping[str, Raw], path: str) -> str | list[Block]:
    if raw is None:
        if role == "system" and "output_config" in extra:
            return []
        raise InvalidRequest(f"{path}.content: Field required")
    first = memoryview(raw)[0]
    if first == ord('"'):
        text: str = jsonbytes.decode_any(raw)
        return text
    if first != ord("["):
        raise InvalidRequest(f"{path}.content: Input should be a valid list")
    return [Block.parse(item, f"{path}.content.{at}") for at, item in enumerate(jsonbytes.decode_list(raw))]


def text_block(text: str, **extra: Any) -> Block:
    """A text block; `extra` are further fields of it."""
    return Block.of({"type": "text", "text": text, **extra})


def tool_use(id: str, name: str, input: Mapping[str, Any], **extra: Any) -> Block:  # noqa: A002
    """A tool_use block."""
    return Block.of({"type": "tool_use", "id": id, "name": name, "input": dict(input), **extra})


def tool_result(tool_use_id: str, content: str | Sequence[Block], *, is_error: bool = False, **extra: Any) -> Block:
    """A tool_result block; `is_error` is written only when true, as clients do."""
    fields: dict[str, Any] = {"type": "tool_result", "tool_use_id": tool_use_id}
    fields["content"] = content if isinstance(content, str) else [block.data for block in content]
    if is_error:
        fields["is_error"] = True
    return Block.of({**fields, **extra})
