"""The one reader of server-sent events: bytes in, checked Messages events out.

Tolerant of how bytes are cut and lines are ended, strict about size and order. Knows nothing of HTTP.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.events import ERROR, MESSAGE_STOP, Event
from gateway.messages.grammar import Grammar, StreamBroken

__all__ = ["MAX_EVENT", "SseDecoder", "StreamBroken", "read_events"]

MAX_EVENT = 16 * 1024 * 1024
"""Bytes one event may take, lines not yet complete included."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """Cuts bytes into events. Chunks may end anywhere, also inside a character or between CR and LF."""

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._buffer = bytearray()
        self._searched = 0
        self._at_start = True
        self._after_cr = False
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes. Raises `StreamBroken` (bad JSON, too large)."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._buffer += chunk
        if self._at_start and not self._skip_bom():
            return []
        events: list[Event] = []
        begin = 0
        for end in _LINE_END.finditer(self._buffer, self._searched):
            self._line(bytes(self._buffer[begin : end.start()]), events)
            begin = end.end()
        # A CR at the very end ends its line now; the LF that may belong to it is skipped when it comes.
        if chunk:
            self._after_cr = begin == len(self._buffer) and self._buffer.endswith(b"\r")
        del self._buffer[:begin]
        self._searched = len(self._buffer)
        self._check_size(len(self._buffer))
        return events

    def close(self) -> list[Event]:
        """The last event, when the stream ended without the blank line after it."""
        events: list[Event] = []
        if self._buffer:
            self._line(bytes(self._buffer), events)
            self._buffer.clear()
        self._line(b"", events)
        return events

    def _skip_bom(self) -> bool:
        if _BOM.startswith(bytes(self._buffer[:3])) and len(self._buffer) < len(_BOM):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._at_start = False
        return True

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                event = _event(self._name, b"\n".join(self._data))
                if event is not None:
                    events.append(event)
            self._name, self._data, self._size = b"", [], 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value
        elif field == b"data":
            self._data.append(value)
        self._size += len(line)
        self._check_size(0)

    def _check_size(self, waiting: int) -> None:
        if self._size + waiting > self._max_event:
            raise StreamBroken(f"an event of more than {self._max_event} bytes")


def _event(name: bytes, data: bytes) -> Event | None:
    if not data or data == b"[DONE]":  # not ours, but some servers close with OpenAI's end mark
        return None
    try:
        decoded: Any = jsonbytes.decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StreamBroken(f"an event that is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise StreamBroken("an event that is not a JSON object")
    kind = decoded.get("type")
    if not isinstance(kind, str):
        # Servers that answer 200 and then fail send a bare {"error": ...}.
        kind = name.decode("utf-8", "replace") or (ERROR if "error" in decoded else "")
        if not kind:
            raise StreamBroken("an event without a name or type")
    return Event(kind, decoded)


async def read_events(chunks: AsyncIterable[bytes], *, max_event: int = MAX_EVENT) -> AsyncGenerator[Event, None]:
    """The events of one Messages stream, up to `message_stop` or an `error` event, whichever comes.

    Every event has passed the grammar; pings and unknown events are passed on. Raises `StreamBroken` on
    anything that is no such stream, and when the bytes end before it does.
    """
    decoder = SseDecoder(max_event)
    grammar = Grammar()
    async for chunk in chunks:
        for event in decoder.feed(chunk):
            grammar.check(event)
            yield event
            if event.name in (MESSAGE_STOP, ERROR):
                return
    for event in decoder.close():
        grammar.check(event)
        yield event
        if event.name in (MESSAGE_STOP, ERROR):
            return
    raise StreamBroken("the stream ended before message_stop" if grammar.started else "the stream is empty")
