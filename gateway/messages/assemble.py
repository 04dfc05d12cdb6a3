"""Builds the final message from the events of a stream.

The same for an upstream's stream inside the loop and for our own when a client asked for no stream. Knows
events; expects them in order (the reader and the writer see to that).
"""

from typing import Any

import msgspec

from gateway.messages import events, jsonbytes, usage
from gateway.messages.events import Event

__all__ = ["Assembler"]


class Assembler:
    """Feed it events; read `message` at any time.

    `bad_inputs` maps the index of a tool call whose input was no JSON object (cut at max_tokens, or sent
    unvalidated) to the text that came; the block then has input {}.
    """

    def __init__(self) -> None:
        self.message: dict[str, Any] = {"type": "message", "role": "assistant", "content": [], "usage": {}}
        self.message |= {"stop_reason": None, "stop_sequence": None}
        self.bad_inputs: dict[int, str] = {}
        self.finished = False
        self._parts: dict[str, list[str]] = {}

    @property
    def content(self) -> list[dict[str, Any]]:
        """The blocks so far; the last one may still be open and then lacks its latest deltas."""
        content: list[dict[str, Any]] = self.message["content"]
        return content

    @property
    def characters(self) -> int:
        """How much has been said so far, in all blocks, the open one included."""
        waiting = sum(len(part) for parts in self._parts.values() for part in parts)
        return waiting + len(jsonbytes.encode(self.content))

    @property
    def usage(self) -> dict[str, Any]:
        """The counts so far: cumulative, later reports over earlier ones."""
        counts: dict[str, Any] = self.message["usage"]
        return counts

    @property
    def stop_reason(self) -> str | None:
        reason: str | None = self.message["stop_reason"]
        return reason

    def feed(self, event: Event) -> None:
        """Takes the next event; pings, errors and unknown events change nothing."""
        match event.name:
            case events.MESSAGE_START:
                self._start(event.data["message"])
            case events.CONTENT_BLOCK_START:
                self.content.append(dict(event.data["content_block"]))
            case events.CONTENT_BLOCK_DELTA:
                self._delta(event.data["delta"])
            case events.CONTENT_BLOCK_STOP:
                self._close_block()
            case events.MESSAGE_DELTA:
                self._message_delta(event.data)
            case events.MESSAGE_STOP:
                self.finished = True

    def _start(self, message: dict[str, Any]) -> None:
        self.message.update(message)
        self.message["content"] = [dict(block) for block in message.get("content") or []]
        self.message["usage"] = dict(message.get("usage") or {})

    def _delta(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        field = events.DELTA_FIELDS.get(kind)
        block = self.content[-1]
        if field is not None:
            self._parts.setdefault(field, []).append(delta[field])
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        else:
            _keep_unknown(block, delta)

    def _close_block(self) -> None:
        block = self.content[-1]
        for field, parts in self._parts.items():
            if field == "partial_json":
                self._close_input(block, "".join(parts))
            elif field == "signature":
                block[field] = "".join(parts) or block.get(field, "")
            else:
                block[field] = str(block.get(field) or "") + "".join(parts)
        self._parts = {}

    def _close_input(self, block: dict[str, Any], text: str) -> None:
        if not text.strip():
            return  # no delta said anything: the input is the one of the block's start
        try:
            value = jsonbytes.decode_any(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.bad_inputs[len(self.content) - 1] = text
            value = {}
        block["input"] = value

    def _message_delta(self, data: dict[str, Any]) -> None:
        for name, value in (data.get("delta") or {}).items():
            if value is not None or name not in self.message:
                self.message[name] = value
        self.message["usage"] = usage.merge(self.usage, data.get("usage"))
        for name, value in data.items():
            if name not in ("type", "delta", "usage"):
                self.message[name] = value


def _keep_unknown(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """A delta of a kind we do not know: its strings are taken for parts, everything else for the value."""
    for name, value in delta.items():
        if name == "type":
            continue
        if isinstance(value, str) and isinstance(block.get(name), str):
            block[name] += value
        elif value is not None:
            block[name] = value
