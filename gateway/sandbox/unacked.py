"""Frames that were sent and not acknowledged: what a resumed stream sends again. Knows no stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ["Unacked"]


class Unacked:
    """Keeps (front, payload) by sequence number; `limit` is in bytes and makes senders wait, never lose."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[tuple[int, bytes, bytes]] = deque()
        self._size = 0
        self._room = asyncio.Event()

    def add(self, seq: int, front: bytes, payload: bytes) -> None:
        self._kept.append((seq, front, payload))
        self._size += len(front) + len(payload)

    def acknowledged(self, ack: int) -> None:
        """Drop every frame up to `ack`."""
        kept = self._kept
        while kept and kept[0][0] <= ack:
            _, front, payload = kept.popleft()
            self._size -= len(front) + len(payload)
        if self._size <= self._limit:
            self._room.set()

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0
        self._room.set()

    def frames(self) -> Iterator[tuple[bytes, bytes]]:
        """In the order they were sent."""
        return ((front, payload) for _, front, payload in list(self._kept))

    @property
    def full(self) -> bool:
        return self._size > self._limit

    async def room(self, other: asyncio.Future[Any]) -> None:
        """Wait until there is room, or until `other` is done."""
        while self.full and not other.done():
            self._room.clear()
            waiting = asyncio.ensure_future(self._room.wait())
            either: tuple[asyncio.Future[Any], ...] = (waiting, other)
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
