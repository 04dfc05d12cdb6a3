"""Server-sent events as they stand on the wire: bytes in, names with data out.

Tolerant of how bytes are cut and lines are ended, strict about size. Knows the event stream format of the HTML
standard; must not know what the data say.
"""

import re
from typing import NamedTuple

__all__ = ["MAX_EVENT", "EventTooLarge", "SseData", "SseDatum"]

MAX_EVENT = 16 * 1024 * 1024
"""Bytes one event may take, lines not yet complete included."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event of more than the allowed bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of more than {limit} bytes")


class SseDatum(NamedTuple):
    """One event: `name` is empty where the stream gave none; `data` are its data lines joined."""

    name: bytes
    data: bytes


class SseData:
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

    def feed(self, chunk: bytes) -> list[SseDatum]:
        """The events that this chunk completes. Raises `EventTooLarge`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._buffer += chunk
        if self._at_start and not self._skip_bom():
            return []
        events: list[SseDatum] = []
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

    def close(self) -> list[SseDatum]:
        """The last event, when the stream ended without the blank line after it."""
        events: list[SseDatum] = []
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

    def _line(self, line: bytes, events: list[SseDatum]) -> None:
        if not line:
            if self._data:
                events.append(SseDatum(self._name, b"\n".join(self._data)))
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
            raise EventTooLarge(self._max_event)
