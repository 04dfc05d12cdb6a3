"""The chunks of a chat answer as the events of a Messages stream.

A state machine: blocks stand in a queue in the order in which they began, the first one is streamed as it
comes, the others wait until it is closed. Knows decoded chunks; must not know bytes or HTTP.
"""

import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any

from gateway.messages import events
from gateway.messages.events import Event
from gateway.providers.base import UpstreamBroken, UpstreamError
from gateway.providers.chat.calls import Calls
from gateway.providers.chat.chunks import (
    Fragment,
    Piece,
    choice_of,
    fragments_of,
    pieces_of,
    stop_named,
    usage_of,
)
from gateway.providers.chat.errors import error_in
from gateway.providers.chat.items import CallItem, Item, TextItem, ThinkingItem
from gateway.providers.chat.request import Reading
from gateway.providers.chat.stops import StopGate
from gateway.providers.chat.tokens import Tokens

__all__ = ["ChatStream"]

MAX_HELD = 16 * 1024 * 1024
"""Characters that may wait behind the block being streamed."""
_MAX_EXPLANATION = 2000

_END, _TOOLS, _LIMIT, _WINDOW, _REFUSAL, _BROKEN, _BUSY = (
    "end_turn",
    "tool_use",
    "max_tokens",
    "model_context_window_exceeded",
    "refusal",
    "broken",
    "busy",
)
_FINISH: Mapping[str, str] = {
    "stop": _END,
    "eos": _END,
    "eos_token": _END,
    "end_turn": _END,
    "stop_sequence": _END,
    "tool_calls": _END,
    "function_call": _END,
    "tool_use": _END,
    "length": _LIMIT,
    "max_tokens": _LIMIT,
    "max_output_tokens": _LIMIT,
    "model_length": _WINDOW,
    "model_context_window_exceeded": _WINDOW,
    "content_filter": _REFUSAL,
    "content_filtered": _REFUSAL,
    "safety": _REFUSAL,
    "sensitive": _REFUSAL,
    "refusal": _REFUSAL,
    "blocklist": _REFUSAL,
    "prohibited_content": _REFUSAL,
    "abort": _BROKEN,
    "error": _BROKEN,
    "network_error": _BROKEN,
    "insufficient_system_resource": _BUSY,
}
"""What each finish reason means; unknown ones are a normal end. Whether a normal end is `tool_use` is decided
by what the answer holds: servers say `stop` beside calls, and `tool_calls` without any."""


class ChatStream:
    """One answer. Feed it every chunk, then `close`; `done` tells that no more is needed.

    Every method raises an `UpstreamFailure` where the answer is an error or makes no sense; what was given
    before stays valid. Memory is bounded however long the answer is.
    """

    def __init__(self, reading: Reading, *, input_tokens: int = 0) -> None:
        self.done = False
        self._reading = reading
        self._tokens = Tokens(input_tokens)
        self._calls = Calls(reading.names.offered)
        self._call_items: dict[int, CallItem] = {}
        self._queue: deque[Item] = deque()
        self._out: list[Event] = []
        self._started = False
        self._blocks = 0
        self._tool_blocks = 0
        self._answered = False
        self._finish: str | None = None
        self._named_stop: str | None = None
        self._refusal: list[str] = []
        self._beyond = False

    def feed(self, chunk: Mapping[str, Any]) -> list[Event]:
        """The events of one more chunk; a whole answer counts as one chunk."""
        if self.done:
            return []
        failure = error_in(chunk)
        if failure is not None:
            raise failure
        self._tokens.take(usage_of(chunk))
        choice = choice_of(chunk)
        if choice is not None:
            self._start()
            self._take(choice)
        if self._finish is not None and self._tokens.reported and not self.done:
            self._end()
        return self._flush()

    def close(self, *, clean: bool) -> list[Event]:
        """The events after the last chunk. `clean`: the server said that this is the end (`[DONE]`), so that a
        missing finish reason means nothing."""
        if not self.done:
            if not self._answered:
                raise UpstreamBroken("the answer has no choice")
            if self._finish is None and not clean:
                raise UpstreamBroken("the stream ended before its finish reason")
            self._end()
        return self._flush()

    def _flush(self) -> list[Event]:
        found, self._out = self._out, []
        return found

    def _start(self) -> None:
        self._answered = True
        if self._started:
            return
        self._started = True
        message: dict[str, Any] = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._reading.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._tokens.start,
        }
        self._out.append(Event(events.MESSAGE_START, {"type": events.MESSAGE_START, "message": message}))

    def _take(self, choice: Mapping[str, Any]) -> None:
        if not self._reading.silent:
            for piece in pieces_of(choice):
                self._piece(piece)
                if self.done:
                    return
            for fragment in fragments_of(choice):
                self._fragment(fragment)
                if self.done:
                    return
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish = reason
            self._named_stop = stop_named(choice) or self._named_stop

    def _piece(self, piece: Piece) -> None:
        if self._beyond:
            return
        value = piece.value
        match piece.kind:
            case "text":
                self._text(value)
                return
            case "refusal":
                self._refusal.append(value[:_MAX_EXPLANATION] if len(self._refusal) < _MAX_EXPLANATION else "")
                self._text(value)
                return
            case "reasoning":
                self._tokens.written += len(value)
                self._thinking().add(value)
            case "signature":
                self._thinking().sign(value)
            case "details":
                self._thinking().note(value)
        self._pump()

    def _text(self, text: str) -> None:
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, TextItem):
            last = TextItem(StopGate(self._reading.enforced))
            self._queue.append(last)
        self._tokens.written += len(text)
        stop = last.add(text)
        self._pump()
        if stop is not None:
            self._end(stop_sequence=stop)

    def _thinking(self) -> ThinkingItem:
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, ThinkingItem):
            last = ThinkingItem(self._reading)
            self._queue.append(last)
        return last

    def _fragment(self, fragment: Fragment) -> None:
        call = self._calls.find(fragment)
        if call is None:
            if self._reading.one_call and self._calls.count:
                self._cut_beyond()
                return
            call = self._calls.begin()
            if not self._beyond:
                item = CallItem(call, self._reading)
                self._call_items[id(call)] = item
                self._queue.append(item)
        known = self._call_items.get(id(call))
        self._calls.note(call, fragment)
        more = call.add(fragment)
        self._tokens.written += len(more)
        if self._reading.json_tool is not None and call.name == self._reading.json_tool:
            self._answer_text(known, more)
            return
        if known is not None:
            known.add(more)
        self._pump()
        if self._beyond and call.complete():
            self._end()

    def _answer_text(self, item: CallItem | None, more: str) -> None:
        """Arguments of the call that stands for a JSON answer."""
        if item is not None and item in self._queue:
            self._queue.remove(item)
        if more:
            self._tokens.written -= len(more)
            self._text(more)

    def _cut_beyond(self) -> None:
        """The client takes one call only: the answer ends where a second begins, or as soon as the first is
        complete when the server mixes them."""
        self._beyond = True
        if all(item.call.complete() or not item.call.begun for item in self._call_items.values()):
            self._end()

    def _pump(self) -> None:
        """Gives what the first block has, and closes it when another waits and it has had its all."""
        while self._queue:
            head = self._queue[0]
            head.give(self._emit)
            if len(self._queue) == 1 or not head.finished():
                break
            self._close_head(cut=False)
        if sum(item.held for item in self._queue) > MAX_HELD:
            raise UpstreamBroken(f"more than {MAX_HELD} characters wait behind an unfinished block")

    def _close_head(self, *, cut: bool) -> None:
        self._queue.popleft().close(self._emit, cut=cut)

    def _emit(self, step: str, carried: dict[str, Any]) -> None:
        index = self._blocks
        if step == "start":
            self._tool_blocks += carried["type"] == "tool_use"
            name = events.CONTENT_BLOCK_START
            data = {"type": name, "index": index, "content_block": carried}
        elif step == "delta":
            name = events.CONTENT_BLOCK_DELTA
            data = {"type": name, "index": index, "delta": carried}
        else:
            self._blocks += 1
            name = events.CONTENT_BLOCK_STOP
            data = {"type": name, "index": index}
        self._out.append(Event(name, data))

    def _end(self, *, stop_sequence: str | None = None) -> None:
        meaning = _FINISH.get((self._finish or "stop").lower(), _END)
        if meaning == _BROKEN:
            raise UpstreamBroken(f"the answer ended with {self._finish}")
        if meaning == _BUSY:
            raise UpstreamError(529, "overloaded_error", "The upstream model service is overloaded.")
        cut = meaning in (_LIMIT, _WINDOW)
        while self._queue:
            self._close_head(cut=cut)
        delta = self._stop(meaning, stop_sequence)
        usage = self._tokens.final
        self._out.append(
            Event(events.MESSAGE_DELTA, {"type": events.MESSAGE_DELTA, "delta": delta, "usage": usage}),
        )
        self._out.append(Event(events.MESSAGE_STOP, {"type": events.MESSAGE_STOP}))
        self.done = True

    def _stop(self, meaning: str, stop_sequence: str | None) -> dict[str, Any]:
        named = stop_sequence
        if named is None and self._named_stop in self._reading.stops:
            named = self._named_stop
        if self._reading.silent:
            meaning = _LIMIT
        elif self._refusal or meaning == _REFUSAL:
            explanation = "".join(self._refusal)[:_MAX_EXPLANATION] or None
            details = {"type": "refusal", "category": None, "explanation": explanation}
            return {"stop_reason": _REFUSAL, "stop_sequence": None, "stop_details": details}
        elif meaning == _LIMIT:
            window = self._reading.dialect.context_tokens
            if window is not None and self._tokens.total >= window:
                meaning = _WINDOW
        elif meaning == _END and self._tool_blocks:
            meaning = _TOOLS
        elif meaning == _END and named is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": named}
        return {"stop_reason": meaning, "stop_sequence": None}
