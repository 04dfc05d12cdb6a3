"""A tap on a stream of server-sent events: what passes is seen, counted and held to the grammar, not rebuilt.

Whole events go through byte for byte. Runs of deltas of the open block, by far the most common, are recognised by
their spelling; every other event is decoded and checked. A stream that is spelled in any unusual way is decoded
and written anew from there on. Knows no HTTP and no timers.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from gateway.messages import events, jsonbytes
from gateway.messages import usage as counts
from gateway.messages.errors import ApiError, envelope
from gateway.messages.events import Event, empty_delta, encode_event
from gateway.messages.grammar import Grammar, StreamBroken
from gateway.messages.sse_reader import MAX_EVENT, SseDecoder

__all__ = ["StreamTap", "check_offered"]

_END = b"\n\n"
_DELTA_FRAME = 120
"""Bytes of a delta event around its text."""
_KIND_OF_BLOCK = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "tool_use": "input_json_delta",
    "server_tool_use": "input_json_delta",
}


class StreamTap:
    """One per answer. `model` is the name that the client asked for, told in place of the upstream's. `offered`
    names the tools that may be called: some clients run every call they are sent. None: any.

    An `error` event is kept as `failed` (its data), what breaks the grammar as `broken`: what came before either
    still passes, nothing after it does.
    """

    def __init__(self, model: str, offered: Collection[str] | None = None) -> None:
        self._model = model
        self._offered = offered
        self._waiting = bytearray()
        self._grammar = Grammar()
        self._begun_here = False
        self._deltas: re.Pattern[bytes] | None = None
        self._decoder: SseDecoder | None = None
        self.usage: dict[str, Any] = {}
        self.answered_model: str | None = None
        self.stop_reason: str | None = None
        self.told = 0
        """Characters of all deltas so far, about."""
        self.failed: dict[str, Any] | None = None
        self.broken: StreamBroken | None = None

    @property
    def started(self) -> bool:
        """message_start is through, the upstream's or our own."""
        return self._grammar.started or self._begun_here

    @property
    def finished(self) -> bool:
        """message_stop is through."""
        return self._grammar.finished

    @property
    def over(self) -> bool:
        """Nothing passes any more, for whichever reason."""
        return self.finished or self.failed is not None or self.broken is not None

    def feed(self, piece: bytes) -> bytes:
        """The whole events so far, as the client gets them; what is left of the piece waits for its rest. After
        the end nothing passes."""
        if self.over:
            return b""
        if self._decoder is not None:
            return self._anew(piece)
        if not self._waiting:
            return self._by_event(piece)
        complete = self._completes(piece)
        self._wait(piece)
        # Searched only when there is an event to cut off: a large one in small pieces would be copied for each.
        return self._by_event(self._waited()) if complete else b""

    def close(self) -> bytes:
        """The last event, if the bytes ended without the blank line after it."""
        if self.over:
            return b""
        return self._anew(self._waited(), last=True)

    def begin(self) -> bytes:
        """message_start of our own, where the upstream is slow; its own is swallowed when it comes."""
        self._begun_here = True
        message: dict[str, Any] = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return encode_event(Event(events.MESSAGE_START, {"type": events.MESSAGE_START, "message": message}))

    def heartbeat(self) -> bytes:
        """A sign of life that every client counts; only between events, where `feed` always leaves off."""
        if not self.started:
            return self.begin()
        if self.finished:
            return b""
        kind = self._grammar.open_type
        if kind is None:
            data: dict[str, Any] = {
                "type": events.MESSAGE_DELTA,
                "delta": {"stop_reason": None, "stop_sequence": None},
                "usage": {"output_tokens": 0},
            }
            return encode_event(Event(events.MESSAGE_DELTA, data))
        nothing = empty_delta(kind)
        if nothing is None:
            return encode_event(Event(events.PING, {"type": events.PING}))
        data = {"type": events.CONTENT_BLOCK_DELTA, "index": self._grammar.blocks - 1, "delta": nothing}
        return encode_event(Event(events.CONTENT_BLOCK_DELTA, data))

    @staticmethod
    def error(error: ApiError, request_id: str) -> bytes:
        """The end of a stream that broke."""
        return encode_event(Event(events.ERROR, envelope(error, request_id)))

    # -- event by event

    def _by_event(self, data: bytes) -> bytes:
        out: list[bytes] = []
        begin = 0
        if b"\r" in data:
            return self._anew(data)
        while not self.over and (end := data.find(_END, begin)) >= 0:
            run = None if self._deltas is None else self._deltas.match(data, begin)
            if run is not None:
                begin = run.end()
                whole = run[0]
                self.told += len(whole) - whole.count(_END) * _DELTA_FRAME
                out.append(whole)
                continue
            whole = data[begin : end + 2]
            try:
                event = _plain_event(whole)
                if event is None:
                    return b"".join(out) + self._anew(data[begin:])
                out.append(self._passed(event, whole))
            except StreamBroken as broken:
                self.broken = broken
            begin = end + 2
        if begin < len(data):
            self._wait(data[begin:])
        return b"".join(out)

    def _completes(self, piece: bytes) -> bool:
        """Whether the event that waits ends in this piece, or has to be read in another way."""
        return _END in piece or b"\r" in piece or (piece.startswith(b"\n") and self._waiting.endswith(b"\n"))

    def _wait(self, piece: bytes) -> None:
        self._waiting += piece
        if len(self._waiting) > MAX_EVENT:
            self.broken = StreamBroken(f"an event of more than {MAX_EVENT} bytes")

    def _waited(self) -> bytes:
        waited = bytes(self._waiting)
        self._waiting.clear()
        return waited

    def _anew(self, data: bytes, *, last: bool = False) -> bytes:
        """From here on the stream is decoded and written anew."""
        if self._decoder is None:
            self._decoder = SseDecoder()
        out: list[bytes] = []
        try:
            for event in [*self._decoder.feed(data), *(self._decoder.close() if last else ())]:
                if self.over:
                    break
                out.append(self._passed(event, None))
        except StreamBroken as broken:
            self.broken = broken
        return b"".join(out)

    def _passed(self, event: Event, whole: bytes | None) -> bytes:
        """Check one event and take note of it; its bytes, unless it is told differently or not at all."""
        if event.name == events.ERROR:
            self.failed = event.data
            return b""
        self._grammar.check(event)
        if event.name == events.MESSAGE_START:
            return self._start(event, whole)
        if event.name == events.CONTENT_BLOCK_START:
            check_offered(event.data["content_block"], self._offered)
            self._deltas = _deltas_of(self._grammar.open_type or "", self._grammar.blocks - 1)
        elif event.name == events.CONTENT_BLOCK_DELTA and whole is not None:
            self.told += max(0, len(whole) - _DELTA_FRAME)
        elif event.name == events.CONTENT_BLOCK_STOP:
            self._deltas = None
        elif event.name == events.MESSAGE_DELTA:
            self.usage = counts.merge(self.usage, event.data.get("usage"))
            reason = (event.data.get("delta") or {}).get("stop_reason")
            self.stop_reason = reason if reason is not None else self.stop_reason
        return encode_event(event) if whole is None else whole

    def _start(self, event: Event, whole: bytes | None) -> bytes:
        message = event.data["message"]
        self.usage = dict(message.get("usage") or {})
        name = message.get("model")
        self.answered_model = name if isinstance(name, str) else None
        if self._begun_here:
            return b""
        if whole is not None and name == self._model:
            return whole
        return encode_event(Event(event.name, {**event.data, "message": {**message, "model": self._model}}))


def check_offered(block: Mapping[str, Any], offered: Collection[str] | None) -> None:
    """Raises `StreamBroken` for a call of a tool that the request did not offer."""
    if offered is not None and block.get("type") == "tool_use" and block.get("name") not in offered:
        raise StreamBroken(f"a call of a tool that was not offered: {str(block.get('name'))[:100]}")


@lru_cache(maxsize=256)
def _deltas_of(block_type: str, index: int) -> re.Pattern[bytes] | None:
    """How plain deltas into that block look on the wire, any number in a row; None where there is no telling."""
    kind = _KIND_OF_BLOCK.get(block_type)
    if kind is None:
        return None
    begin = (
        f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
        f'"delta":{{"type":"{kind}","{events.DELTA_FIELDS[kind]}":"'
    )
    # The text ends at the first quote that is not escaped: what follows it must close the event.
    return re.compile(rb'(?:%b[^"\\\n]*(?:\\.[^"\\\n]*)*"}}\n\n)+' % re.escape(begin.encode()))


def _plain_event(whole: bytes) -> Event | None:
    """An event of one name line and one data line; None for any other spelling."""
    if not whole.startswith(b"event: "):
        return None
    at = whole.find(b"\n")
    name, line = whole[7:at], whole[at + 1 : -2]
    if not line.startswith(b"data: ") or b"\n" in line:
        return None
    try:
        data = jsonbytes.decode_any(line[6:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StreamBroken(f"an event that is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("type") != name.decode("ascii", "replace"):
        return None
    return Event(data["type"], data)
