"""The turn's side of the stream: writes to the log through the one SSE writer and remembers what it wrote."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.agent.pairs import MARK
from gateway.agent.turns import TurnLog
from gateway.messages import jsonbytes
from gateway.messages.assemble import Assembler
from gateway.messages.errors import ApiError
from gateway.messages.sse_writer import SseWriter

Json = dict[str, Any]


class Output:
    """One per turn. `blocks` are the finished blocks so far, as the client has them."""

    def __init__(self, log: TurnLog, model: str) -> None:
        self._log = log
        self._model = model
        self._seen = Assembler()
        self._writer = SseWriter(self._seen.feed)
        self._displaying = False
        self.last_write = time.monotonic()

    @property
    def started(self) -> bool:
        return self._writer.started

    @property
    def blocks(self) -> list[Json]:
        return self._seen.content

    @property
    def ends_with_text(self) -> bool:
        """Whether the last block is text that the model wrote."""
        last = self.blocks[-1] if self.blocks else {}
        return last.get("type") == "text" and MARK not in last and bool(str(last.get("text", "")).strip())

    def start(self, message: Mapping[str, Any] | None = None) -> None:
        """message_start under the model name that was asked for: clients resume with the name they are told."""
        if self._writer.started:
            return
        head: Json = {"id": f"msg_{secrets.token_hex(12)}", "usage": {"input_tokens": 0, "output_tokens": 0}}
        self._append(self._writer.start({**head, **(message or {}), "model": self._model}))

    def open_block(self, block: Mapping[str, Any]) -> None:
        self._append(self._writer.open_block(block))

    def delta(self, delta: Mapping[str, Any]) -> None:
        self._append(self._writer.delta(delta))

    def close_block(self) -> None:
        """Close the open block, if there is one."""
        self._displaying = False
        if self._writer.open_type is not None:
            self._append(self._writer.close_block())

    def whole_block(self, block: Mapping[str, Any]) -> None:
        """A finished block. The input of a call goes as a delta: Claude Code empties the one in the start."""
        if block["type"] in ("tool_use", "server_tool_use"):
            self.call(block)
        else:
            self._append(self._writer.whole_block(block))

    def open_display(self) -> None:
        """A block for the person's eyes; it comes back with its mark and is taken out again."""
        self.open_block({"type": "text", "text": "", MARK: {"display_only": True}})
        self._displaying = True

    def show(self, text: str) -> None:
        """Text into the open display block, if there is one."""
        if text and self._displaying:
            self.delta({"type": "text_delta", "text": text})

    def text(self, text: str) -> None:
        """A block of untagged text."""
        self.close_block()
        self.replay({"type": "text", "text": text})

    def call(self, block: Mapping[str, Any]) -> None:
        """A call: the client's to run, or one that the gateway ran."""
        self._append(self._writer.open_block({**block, "input": {}}))
        self.delta({"type": "input_json_delta", "partial_json": _json(block["input"])})
        self.close_block()

    def replay(self, block: Mapping[str, Any]) -> None:
        """A finished block once more, streamed as its kind is."""
        if block["type"] == "text":
            self.open_block({**block, "text": ""})
            self.delta({"type": "text_delta", "text": block["text"]})
            self.close_block()
        elif block["type"] == "thinking":
            self.open_block({**block, "thinking": "", "signature": ""})
            self.delta({"type": "thinking_delta", "thinking": block.get("thinking", "")})
            self.delta({"type": "signature_delta", "signature": block.get("signature", "")})
            self.close_block()
        else:
            self.whole_block(block)

    def heartbeat(self) -> None:
        """A sign of life; before the start it is the start."""
        if not self._writer.started:
            self.start()
        elif not self._writer.ended:
            self._append(self._writer.heartbeat())

    def finish(
        self, stop_reason: str | None, reports: Sequence[Json], message: Mapping[str, Any] | None = None
    ) -> None:
        """The end of a turn that went well: its usage, as `Budget.usage` words it. `message` is the upstream's
        last one, for its other fields."""
        self.close_block()
        *former, usage = reports
        for report in former:
            self._append(self._writer.report(report))
        closing = message or {}
        extra = {name: closing[name] for name in ("stop_details", "container") if closing.get(name) is not None}
        event = {name: closing[name] for name in ("context_management",) if closing.get(name) is not None}
        self._append(self._writer.finish(stop_reason, usage, closing.get("stop_sequence"), extra, event))
        self._log.end()

    def fail(self, error: ApiError, request_id: str) -> None:
        """The end of one that did not: an `error` event, or the whole answer when nothing was sent yet."""
        if self._writer.started and not self._writer.ended:
            self._append(self._writer.error(error.type, error.message, request_id))
        self._log.end(error)

    def _append(self, chunk: bytes) -> None:
        self.last_write = time.monotonic()
        self._log.append(chunk)


def _json(value: Any) -> str:
    return jsonbytes.encode(value).decode()
