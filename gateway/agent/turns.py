"""Turns are idempotent: the same request posted again joins the running turn or replays it.

Claude Code silently posts the same body a second time, without `stream`, when a stream fails before its
first finished block (measured). A turn therefore runs apart from the connections that watch it: it writes
its events to a log, any number of followers read the log from the start, and it is cancelled when nobody
has followed it for a grace period. A turn that failed keeps what its finished steps did, and the next
request with the same key goes on from there; no tool runs twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from gateway.agent.progress import Progress
from gateway.messages.assemble import Assembler
from gateway.messages.errors import ApiError
from gateway.messages.sse_reader import SseDecoder

KEPT_TURNS = 256
"""Ended turns kept for a second request; the oldest goes first."""

KEPT_BYTES = 64 * 1024 * 1024
"""Size of the logs of ended turns kept, together."""


@dataclass(frozen=True, slots=True)
class TurnKey:
    """Which turn a request means: digest of the conversation within a subject, session and agent."""

    subject: str
    session: str
    agent: str
    digest: str


class TurnLog:
    """Encoded events of one turn, in order, readable by many while it grows."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.ended = False
        self.error: ApiError | None = None
        """What went wrong, if the turn failed. Without chunks it is the whole answer; a stream that began tells it
        in its last event."""
        self._grown = asyncio.Event()

    def append(self, chunk: bytes) -> None:
        if chunk:
            self.chunks.append(chunk)
            self.size += len(chunk)
            self._wake()

    def end(self, error: ApiError | None = None) -> None:
        self.error = error
        self.ended = True
        self._wake()

    async def wait_started(self) -> None:
        """Until the first event or the end."""
        while not self.chunks and not self.ended:
            await self._grown.wait()

    async def read(self) -> AsyncIterator[bytes]:
        """Everything from the start, then what comes, until the end."""
        position = 0
        while True:
            while position < len(self.chunks):
                batch = self.chunks[position:]
                position += len(batch)
                yield b"".join(batch)
            if self.ended:
                return
            await self._grown.wait()

    def message(self) -> dict[str, Any]:
        """The whole message, of a turn that ended well."""
        assembler, decoder = Assembler(), SseDecoder()
        for chunk in self.chunks:
            for event in decoder.feed(chunk):
                assembler.feed(event)
        return assembler.message

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


Work = Callable[["Turn"], Coroutine[None, None, None]]
"""Runs a turn to its end: writes the log, never raises but for cancellation."""


@dataclass(eq=False)
class Turn:
    """A running or ended turn. `progress` is what its finished steps did."""

    key: TurnKey | None
    log: TurnLog = field(default_factory=TurnLog)
    progress: Progress = field(default_factory=Progress)
    followers: int = 0
    delivered: bool = False
    """Whether some follower got the whole log of a turn that ended well."""
    succeeded: bool = False
    """Set before the end of the log: whoever reads to the end can rely on it."""
    work: Work | None = None
    task: asyncio.Task[None] | None = None
    reaper: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()


class Turns:
    """Running turns, and ended ones that may be asked for again. Owns the tasks; `aclose` ends them."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._kept: OrderedDict[TurnKey, Turn] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        return len(self._tasks)

    def joinable(self, key: TurnKey | None) -> Turn | None:
        """The turn that a request for `key` would join or replay, if there is one."""
        earlier = self._kept.get(key) if key is not None else None
        if earlier is None or not (earlier.running or (earlier.succeeded and not earlier.delivered)):
            return None
        return earlier

    def start_or_join(self, key: TurnKey | None, work: Work) -> Turn:
        """The turn for `key`: the running one, one that was never fully delivered, or a new one.

        A request without a key (a client that names no session) is always a new turn.
        """
        joined = self.joinable(key)
        if joined is not None:
            return joined
        earlier = self._kept.get(key) if key is not None else None
        if earlier is not None:
            turn = Turn(key, progress=Progress() if earlier.succeeded else earlier.progress)
        else:
            turn = Turn(key)
        self._start(turn, work)
        return turn

    @contextlib.asynccontextmanager
    async def follow(self, turn: Turn) -> AsyncIterator[TurnLog]:
        """Hold the turn alive while reading its log. The last one out starts the grace period."""
        turn.followers += 1
        if turn.reaper is not None:
            turn.reaper.cancel()
            turn.reaper = None
        try:
            yield turn.log
        finally:
            turn.followers -= 1
            if turn.followers == 0 and turn.running:
                turn.reaper = asyncio.get_running_loop().call_later(self._grace, self._abandon, turn)

    async def aclose(self) -> None:
        """Cancel every running turn and wait until each has released what it held."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, turn: Turn, work: Work) -> None:
        turn.work = work
        task = asyncio.get_running_loop().create_task(work(turn))
        turn.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if turn.key is not None:
            self._kept.pop(turn.key, None)
            self._kept[turn.key] = turn
            self._forget_old()

    def _abandon(self, turn: Turn) -> None:
        if turn.followers == 0 and turn.task is not None:
            turn.task.cancel()

    def _forget_old(self) -> None:
        size = sum(turn.log.size for turn in self._kept.values())
        for key, turn in list(self._kept.items()):
            if len(self._kept) <= KEPT_TURNS and size <= KEPT_BYTES:
                return
            if not turn.running:
                size -= turn.log.size
                del self._kept[key]
