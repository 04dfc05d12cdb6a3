"""Output of a running command, kept within bounds: its head, its tail, and how much there was."""

from __future__ import annotations

import codecs

from gateway.tools.base import Show

HEAD_BYTES = 8 * 1024 * 1024
"""Kept from the start; the most that can be handed to the model as a file."""

TAIL_BYTES = 64 * 1024
"""Kept from the end once the head is full."""


class Captured:
    """Takes chunks until `limit` bytes have come; text decodes as UTF-8 with replacement characters."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def take(self, chunk: bytes, show: Show) -> bool:
        """False once the limit is passed: the caller stops the command."""
        self.total += len(chunk)
        room = HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            show(self._decoder.decode(chunk[:room]))
        if len(chunk) > room:
            self._tail += chunk[max(room, 0) :]
            del self._tail[:-TAIL_BYTES]
        return self.total <= self._limit

    def kept(self) -> bytes:
        """What was kept, with a line where bytes are missing."""
        dropped = self.total - len(self._head) - len(self._tail)
        if dropped <= 0:
            return bytes(self._head + self._tail)
        return bytes(self._head + b"\n[... %d bytes were not kept ...]\n" % dropped + self._tail)

    def text(self) -> str:
        return self.kept().decode(errors="replace")
