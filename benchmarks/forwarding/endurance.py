"""What must stay flat: the latency of a long session, the memory of a long session and of a long stream."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median

from benchmarks.forwarding.cells import Side
from benchmarks.forwarding.requests import ask
from benchmarks.processes import rss_mib

__all__ = ["ENDS", "EVENTS", "TURNS", "Long", "long_session", "long_stream"]

TURNS = 240
ENDS = 40
EVENTS = 100_000
LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Long:
    """Milliseconds at the beginning and at the end (of a stream: of all of it, twice); MiB before, and at most
    from then on."""

    first_ms: float
    last_ms: float
    before_mib: float
    most_mib: float


async def long_session(side: Side) -> Long:
    """`TURNS` large requests of one session, one after another; the medians of the first and the last 40."""
    headers = {"x-bulkhead-session": f"benchmark-{secrets.token_hex(4)}"}
    turn = ask(large=True, stream=True, headers=headers)
    async with _watched(side.pid) as memory:
        times = [(await side.client.ask(turn)).whole for _ in range(TURNS)]
    return Long(median(times[:ENDS]), median(times[-ENDS:]), memory.before, memory.most)


async def long_stream(side: Side) -> Long:
    """One stream of `EVENTS` deltas as fast as they go."""
    async with _watched(side.pid) as memory:
        taken = await side.client.ask(ask(stream=True, mark=f"BURST-{EVENTS}"))
    return Long(taken.whole, taken.whole, memory.before, memory.most)


class _Memory:
    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.most = rss_mib(pid)

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        self.most = max(self.most, rss_mib(self._pid))


@contextlib.asynccontextmanager
async def _watched(pid: int) -> AsyncIterator[_Memory]:
    memory = _Memory(pid)
    watch = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        memory.look()
