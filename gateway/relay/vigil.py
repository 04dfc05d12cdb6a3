"""What may happen beside an answer: the client leaves, silence asks for a sign of life, time runs out.

One timer an answer, and nothing else for one that is done in a moment. Knows a task, a clock and the client's
connection; must not know what the answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.types import Receive

__all__ = ["Vigil"]

AT_ONCE = 0.05
"""Seconds: what is done sooner needs no watching. A client that left is noticed by the first write, or then."""


class Vigil:
    """Cancels the task it was started in, and says why in `reason`. Belongs to one task; `stop` it in the end.

    `beat` is called after `heartbeat_seconds` without `noted`; `longest` bounds the whole, in seconds.
    """

    def __init__(
        self, receive: Receive, beat: Callable[[], Awaitable[None]], *, heartbeat_seconds: float, longest: float
    ) -> None:
        self._receive = receive
        self._beat = beat
        self._every = heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._until = self._last + longest
        self._task: asyncio.Task[object] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reason: Literal["left", "expired"] | None = None

    def start(self) -> None:
        """Begin, for the task that calls."""
        self._task = asyncio.current_task()
        self._timer = self._loop.call_later(min(AT_ONCE, self._every), self._look)

    def noted(self) -> None:
        """Something went to the client just now."""
        self._last = self._loop.time()

    def stop(self) -> None:
        """End; nothing is cancelled and no sign is given any more. Idempotent."""
        self._task = None
        for waiting in (self._timer, self._watching, self._beating):
            if waiting is not None:
                waiting.cancel()
        self._timer = None  # its callback is ours: nobody should wait for the garbage collector

    def _look(self) -> None:
        now = self._loop.time()
        if self._watching is None:
            self._watching = self._loop.create_task(_until_gone(self._receive))
            self._watching.add_done_callback(self._gone)
        if now >= self._until:
            self._end("expired")
            return
        silent = now - self._last
        if silent >= self._every and (self._beating is None or self._beating.done()):
            self._last, silent = now, 0.0
            self._beating = self._loop.create_task(self._sign())
        self._timer = self._loop.call_later(min(max(self._every - silent, AT_ONCE), self._until - now), self._look)

    async def _sign(self) -> None:
        await self._beat()

    def _gone(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled():
            watching.exception()
            self._end("left")

    def _end(self, reason: Literal["left", "expired"]) -> None:
        task, self._task = self._task, None
        if task is not None:
            self.reason = reason
            task.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
