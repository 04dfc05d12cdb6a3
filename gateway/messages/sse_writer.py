"""The one writer of server-sent events: a state machine that can only write a well-formed Messages stream.

Contiguous indices, one message_start, one block at a time, nothing after the end. Methods are synchronous
and return the bytes to send. Knows nothing of HTTP, timers or who is listening.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.messages import events
from gateway.messages import usage as counts
from gateway.messages.errors import ApiError, envelope, status_of_type
from gateway.messages.events import Event, delta_fits, empty_delta, encode_event

__all__ = ["SseWriter"]


class SseWriter:
    """One stream of one answer. A call that the grammar does not allow is the caller's bug: `ValueError`.

    `tap`, when given, sees every event written (an `Assembler.feed`, a recorder).
    """

    def __init__(self, tap: Callable[[Event], None] | None = None) -> None:
        self._tap = tap
        self._started = False
        self._ended = False
        self._next = 0
        self._open: str | None = None
        self._usage: dict[str, Any] = {}

    @property
    def started(self) -> bool:
        """message_start has been written."""
        return self._started

    @property
    def ended(self) -> bool:
        """message_stop or an error has been written; nothing more can be."""
        return self._ended

    @property
    def open_type(self) -> str | None:
        """The type of the open block, None between blocks."""
        return self._open

    @property
    def next_index(self) -> int:
        """The index that the next block will have."""
        return self._next

    def start(self, message: Mapping[str, Any]) -> bytes:
        """message_start. Content is always empty here; `usage` is kept for later signs of life."""
        self._require(not self._started, "start after start")
        self._started = True
        self._usage = dict(message.get("usage") or {})
        head = {"type": "message", "role": "assistant", "stop_reason": None, "stop_sequence": None}
        data = {"type": events.MESSAGE_START, "message": {**head, **message, "content": []}}
        return self._write(Event(events.MESSAGE_START, data))

    def open_block(self, block: Mapping[str, Any]) -> bytes:
        """content_block_start at the next index."""
        self._require(self._started and self._open is None, "open_block needs a start and no open block")
        index, self._next = self._next, self._next + 1
        self._open = str(block["type"])
        data = {"type": events.CONTENT_BLOCK_START, "index": index, "content_block": dict(block)}
        return self._write(Event(events.CONTENT_BLOCK_START, data))

    def delta(self, delta: Mapping[str, Any]) -> bytes:
        """content_block_delta into the open block."""
        self._require(self._open is not None, "delta without an open block")
        assert self._open is not None
        kind = str(delta["type"])
        self._require(delta_fits(self._open, kind), f"{kind} into a {self._open} block")
        self._require(
            self._open != "mcp_tool_use" or kind != "input_json_delta",
            "mcp_tool_use takes its whole input at the start: Claude Code ends the turn otherwise",
        )
        data = {"type": events.CONTENT_BLOCK_DELTA, "index": self._next - 1, "delta": dict(delta)}
        return self._write(Event(events.CONTENT_BLOCK_DELTA, data))

    def close_block(self) -> bytes:
        """content_block_stop of the open block."""
        self._require(self._open is not None, "close_block without an open block")
        self._open = None
        data = {"type": events.CONTENT_BLOCK_STOP, "index": self._next - 1}
        return self._write(Event(events.CONTENT_BLOCK_STOP, data))

    def whole_block(self, block: Mapping[str, Any]) -> bytes:
        """A block that is complete in its start, as result blocks are."""
        return self.open_block(block) + self.close_block()

    def heartbeat(self) -> bytes:
        """A sign of life that every client's watchdog counts.

        An empty delta into the open block; between blocks a message_delta that stops nothing; where neither
        is possible (before the start, or in a block that takes no empty delta) a ping.
        """
        if not self._started:
            return self.ping()
        if self._open is None:
            return self.report({"output_tokens": 0})
        nothing = empty_delta(self._open)
        return self.ping() if nothing is None else self.delta(nothing)

    def report(self, usage: Mapping[str, Any]) -> bytes:
        """A message_delta between blocks that stops nothing. Some clients add up what such events count, all
        others take the last one; its usage stands alone."""
        self._require(self._started and self._open is None, "report needs a start and no open block")
        data = {
            "type": events.MESSAGE_DELTA,
            "delta": {"stop_reason": None, "stop_sequence": None},
            "usage": dict(usage),
        }
        return self._write(Event(events.MESSAGE_DELTA, data))

    def ping(self) -> bytes:
        """A ping: keeps sockets open, but not every client's event watchdog."""
        return self._write(Event(events.PING, {"type": events.PING}))

    def finish(
        self,
        stop_reason: str | None,
        usage: Mapping[str, Any] | None,
        stop_sequence: str | None = None,
        extra: Mapping[str, Any] | None = None,
        event_extra: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Closes the open block, writes the last message_delta and message_stop.

        `extra` joins the delta (container, stop_details), `event_extra` the event (context_management).
        """
        self._require(self._started, "finish before start")
        closing = self.close_block() if self._open is not None else b""
        self._usage = counts.merge(self._usage, usage)
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence, **(extra or {})}
        closing += self._message_delta(delta, event_extra or {})
        closing += self._write(Event(events.MESSAGE_STOP, {"type": events.MESSAGE_STOP}))
        self._ended = True
        return closing

    def error(self, type: str, message: str, request_id: str | None = None) -> bytes:  # noqa: A002
        """An error event. The stream is over: no clean end may follow what broke."""
        body = envelope(ApiError(status_of_type(type), type, message), request_id)
        written = self._write(Event(events.ERROR, body))
        self._ended = True
        return written

    def _message_delta(self, delta: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
        data = {"type": events.MESSAGE_DELTA, "delta": dict(delta), "usage": dict(self._usage), **extra}
        return self._write(Event(events.MESSAGE_DELTA, data))

    def _write(self, event: Event) -> bytes:
        self._require(not self._ended, f"{event.name} after the end")
        if self._tap is not None:
            self._tap(event)
        return encode_event(event)

    def _require(self, allowed: bool, complaint: str) -> None:
        if not allowed:
            raise ValueError(f"illegal stream step: {complaint}")
