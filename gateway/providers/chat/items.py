"""The blocks of an answer under way: each takes its pieces, and gives its events when its turn comes.

A block gives nothing before something is worth showing: blank texts and calls without a name never open. Knows
events of one block; must not know which block is live.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from gateway.messages import foreign_signature, jsonbytes
from gateway.providers.base import UpstreamBroken
from gateway.providers.chat.calls import Call
from gateway.providers.chat.request import Reading
from gateway.providers.chat.stops import StopGate

__all__ = ["CallItem", "Item", "TextItem", "ThinkingItem"]

MAX_KEPT_REASONING = 128 * 1024
"""Characters of reasoning kept to go back inside a signature."""
_MAX_BLANK = 4096
_MAX_DETAILS = 4096
_OBJECT_BEGINS = re.compile(r'\{\s*["}]')
"""Weak models write objects of other languages: unquoted names, single quotes."""
_MAX_BEGINNING = 256
_BLANK_ARGUMENTS = frozenset({"", "null", '""', "{}", "[]"})

Emit = Callable[[str, dict[str, Any]], None]
"""Takes the kind of a step (`start`, `delta`, `stop`) and what it carries."""


class Item(Protocol):
    """One block. `held`: characters that wait to be given."""

    held: int

    def give(self, emit: Emit) -> None:
        """Everything that may be shown now."""
        ...

    def close(self, emit: Emit, *, cut: bool) -> None:
        """The rest and the end. `cut`: the answer ended at a limit, perhaps within this block."""
        ...

    def finished(self) -> bool:
        """Whether nothing more can come, given that another block has begun."""
        ...


class TextItem:
    def __init__(self, gate: StopGate) -> None:
        self.held = 0
        self._gate = gate
        self._waiting: list[str] = []
        self._open = False

    def add(self, piece: str) -> str | None:
        """Takes text; returns the stop sequence that ended it."""
        text, stop = self._gate.feed(piece)
        self._keep(text)
        return stop

    def give(self, emit: Emit) -> None:
        text = "".join(self._waiting)
        if not self._open:
            if not text.strip():
                self._waiting = [text[:_MAX_BLANK]] if text else []
                self.held = 0
                return
            self._open = True
            emit("start", {"type": "text", "text": ""})
        self._waiting, self.held = [], 0
        if text:
            emit("delta", {"type": "text_delta", "text": text})

    def close(self, emit: Emit, *, cut: bool) -> None:
        self._keep(self._gate.flush())
        self.give(emit)
        if self._open:
            emit("stop", {})

    def finished(self) -> bool:
        return True

    def _keep(self, text: str) -> None:
        if text:
            self._waiting.append(text)
            self.held += len(text)


class ThinkingItem:
    """Reasoning, and what the server wants back with it. The signature names this upstream and model."""

    def __init__(self, reading: Reading) -> None:
        self.held = 0
        self._reading = reading
        self._waiting: list[str] = []
        self._open = False
        self._kept: list[str] = []
        self._kept_size = 0
        self._signature = ""
        self._details: dict[tuple[Any, Any], dict[str, Any]] = {}
        self._details_size = 0

    def add(self, piece: str) -> None:
        self._waiting.append(piece)
        self.held += len(piece)
        if self._reading.thinking == "omitted" and self._kept_size <= MAX_KEPT_REASONING:
            self._kept.append(piece)
            self._kept_size += len(piece)

    def sign(self, signature: str) -> None:
        """The server's own signature of this block."""
        if len(signature) <= MAX_KEPT_REASONING:
            self._signature = signature

    def note(self, records: list[dict[str, Any]]) -> None:
        """Pieces of OpenRouter's records: those of one index and type are parts of one."""
        for record in records:
            if self._details_size > MAX_KEPT_REASONING or len(self._details) > _MAX_DETAILS:
                return
            self._details_size += len(jsonbytes.encode(record))
            key = (str(record.get("index")), str(record.get("type")))
            known = self._details.setdefault(key, {})
            for name, value in record.items():
                if name in ("text", "summary", "data") and isinstance(value, str):
                    known[name] = str(known.get(name) or "") + value
                elif value is not None or name not in known:
                    known[name] = value

    def give(self, emit: Emit) -> None:
        if self._reading.thinking == "hidden":
            self._waiting, self.held = [], 0
            return
        text = "".join(self._waiting)
        if not self._open:
            if not text.strip():
                self._waiting = [text[:_MAX_BLANK]] if text else []
                self.held = 0
                return
            self._start(emit)
        self._waiting, self.held = [], 0
        if text and self._reading.thinking != "omitted":
            emit("delta", {"type": "thinking_delta", "thinking": text})

    def close(self, emit: Emit, *, cut: bool) -> None:
        self.give(emit)
        if self._reading.thinking == "hidden":
            return
        if not self._open and (self._details or self._signature):
            self._start(emit)
        if self._open:
            emit("delta", {"type": "signature_delta", "signature": self._made()})
            emit("stop", {})

    def finished(self) -> bool:
        return True

    def _start(self, emit: Emit) -> None:
        self._open = True
        emit("start", {"type": "thinking", "thinking": "", "signature": ""})

    def _made(self) -> str:
        reading = self._reading
        payload: dict[str, Any] = {}
        if self._details and self._details_size <= MAX_KEPT_REASONING:
            payload["details"] = list(self._details.values())
        if self._signature:
            payload["signature"] = self._signature
        if self._kept and self._kept_size <= MAX_KEPT_REASONING and reading.dialect.reasoning_back != "no":
            payload["text"] = "".join(self._kept)
        try:
            return foreign_signature.make(reading.upstream, reading.model, payload)
        except (ValueError, UnicodeEncodeError):  # too long, or half a character: the block is still shown
            return foreign_signature.make(reading.upstream, reading.model)


class CallItem:
    """A tool call. It opens once its arguments are seen to be an object; anything else waits for the end."""

    def __init__(self, call: Call, reading: Reading) -> None:
        self.call = call
        self.held = 0
        self._reading = reading
        self._waiting: list[str] = []
        self._open = False
        self._odd = False
        """Whether the arguments have begun, and not like an object."""

    def add(self, more: str) -> None:
        if more:
            self._waiting.append(more)
            self.held += len(more)

    def give(self, emit: Emit) -> None:
        if not self._open:
            if self._odd or not self.call.name:
                return
            if not _OBJECT_BEGINS.match(self.call.arguments[:_MAX_BEGINNING]):
                self._odd = self.call.size > _MAX_BEGINNING
                return
            self._start(emit)
        text = "".join(self._waiting)
        self._waiting, self.held = [], 0
        if text:
            emit("delta", {"type": "input_json_delta", "partial_json": text})

    def close(self, emit: Emit, *, cut: bool) -> None:
        if cut and not self.call.begun:
            return  # the limit came before its arguments: nobody may run it without them
        if not self.call.name:
            raise UpstreamBroken("a tool call without a name")
        self.give(emit)
        if not self._open:
            self._start(emit)
            arguments = self.call.arguments
            text = arguments if cut and arguments.startswith("{") else _object(arguments)
            if text:
                emit("delta", {"type": "input_json_delta", "partial_json": text})
        emit("stop", {})

    def finished(self) -> bool:
        return self.call.complete()

    def _start(self, emit: Emit) -> None:
        self._open = True
        name = self._reading.names.inward(self.call.name)
        block_id = self._reading.ids.inward(self.call.upstream_id)
        emit("start", {"type": "tool_use", "id": block_id, "name": name, "input": {}})


def _object(arguments: str) -> str:
    """Arguments that did not begin like an object, as the object the API wants: "" for none, the inner one where it was
    encoded twice, else the text under a name that tells the model what it did."""
    text = arguments.strip()
    if text in _BLANK_ARGUMENTS:
        return ""
    try:
        inner = jsonbytes.decode_any(text.encode("utf-8", "replace"))
        if isinstance(inner, dict):
            return text
        if isinstance(inner, str):
            if inner.strip() in _BLANK_ARGUMENTS:
                return ""
            if isinstance(jsonbytes.decode_any(inner.encode("utf-8", "replace")), dict):
                return inner
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return jsonbytes.encode({"invalid_arguments": text}).decode()
