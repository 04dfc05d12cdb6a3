"""How many calls one upstream has at a time, and how long a further one waits for its turn.

Counts calls. Must not know what they are.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.routing.attempts import GatewayHeldBack

__all__ = ["Slots"]


class Slots:
    """`limit` calls at a time; as many again may wait up to `patience` seconds, in the order they came."""

    def __init__(self, name: str, limit: int, *, patience: float = 10.0) -> None:
        self._name = name
        self._limit = limit
        self._patience = patience
        self._queue: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    async def take(self) -> None:
        """A slot, which `give_back` must end. Raises `GatewayHeldBack` when there is none in time or the queue is
        full."""
        if self.taken < self._limit:
            self.taken += 1
        else:
            await self._wait()

    def give_back(self) -> None:
        """To the first in the queue, else to whoever comes."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1

    async def _wait(self) -> None:
        if len(self._queue) >= self._limit:
            raise self._full("its queue is full")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except (TimeoutError, asyncio.CancelledError) as end:
            if turn.done() and not turn.cancelled():
                self.give_back()  # the turn came in the same moment
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(end, TimeoutError):
                raise self._full(f"no slot in {self._patience:g} s") from None
            raise

    def _full(self, why: str) -> GatewayHeldBack:
        return GatewayHeldBack(
            "The gateway has as many requests at its upstream model service as it may; try again shortly.",
            retry_after=2,
            reason=f"{self._name}: {self._limit} requests at a time, and {why}",
        )
