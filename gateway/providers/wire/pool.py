"""Which connection serves a request: one that rests, a new one, or the wait for a free place.

Keeps the count and the clock of all connections of a client. Must not know HTTP, nor how a connection is opened.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from gateway.providers.wire.connection import Connection
from gateway.providers.wire.errors import WireError, WireTimeout
from gateway.providers.wire.target import Target

__all__ = ["Bounds", "Dial", "Pool"]

Dial = Callable[[Target, Connection], Awaitable[None]]
"""Connects the given connection to the target, or raises `WireError`."""

_SLOWEST_TICK = 1.0
_FASTEST_TICK = 0.01
_TICKS_PER_BOUND = 4
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a pool; times in seconds. `connect` bounds the wait for a free place, and then the dialling.
    `silence` and `idle_seconds` are kept to a quarter of the shorter one, or a second."""

    connect: float
    silence: float
    connections: int
    idle_connections: int
    idle_seconds: float

    @property
    def tick(self) -> float:
        return min(_SLOWEST_TICK, max(_FASTEST_TICK, min(self.silence, self.idle_seconds) / _TICKS_PER_BOUND))


class Pool:
    """Connections of one client, on one event loop. The most recently used rests on top, so that a quiet
    pool shrinks to what is needed."""

    __slots__ = (
        "_bounds",
        "_closed",
        "_dial",
        "_dialling",
        "_gone",
        "_idle",
        "_leaving",
        "_open",
        "_timer",
        "_waiting",
    )

    def __init__(self, bounds: Bounds, dial: Dial) -> None:
        self._bounds = bounds
        self._dial = dial
        self._idle: dict[str, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._leaving: set[Connection] = set()
        self._dialling = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Event | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """Connections there are: in use, at rest, and being opened."""
        return len(self._open) + self._dialling

    @property
    def idle(self) -> int:
        return sum(map(len, self._idle.values()))

    def reuse(self, origin: str) -> Connection | None:
        """The connection that rested last, if there is a fresh one."""
        stack = self._idle.get(origin)
        while stack:
            connection = stack.pop()
            if connection.silent_for(monotonic()) <= self._bounds.idle_seconds:
                return connection
            connection.drop()
        return None

    async def take(self, target: Target, *, fresh: bool = False) -> Connection:
        """A connection to the target, dialled where none rests; `fresh` dials in any case. Raises `WireTimeout`
        when no place gets free or connecting takes too long, `WireError` when it fails."""
        try:
            async with asyncio.timeout(self._bounds.connect):
                connection = await self._place(target.origin, fresh)
        except TimeoutError:
            raise WireTimeout(f"no connection got free within {self._bounds.connect:g} s") from None
        if connection is not None:
            return connection
        return await self._dialled(target)  # `_place` has counted it

    def give(self, connection: Connection) -> None:
        """Takes a connection back. One that cannot serve again, or that is one too many, is closed."""
        if self._closed or not connection.reusable:
            connection.drop()
            return
        connection.rest()
        self._idle.setdefault(connection.origin, deque()).append(connection)
        if self.idle > self._bounds.idle_connections:
            self._drop_oldest()
        if self._waiting:
            self._wake()

    async def aclose(self) -> None:
        """Closes every connection, used ones too, and returns when the sockets are closed. Idempotent."""
        self._closed = True
        for connection in tuple(self._open):
            connection.fail(WireError("the client was closed"))
        while self._waiting:
            self._wake()
        if self._leaving:
            self._gone = self._gone or asyncio.Event()
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                self._leaving.clear()  # a socket the loop does not let go of is no reason to hang

    def dropped(self, connection: Connection) -> None:
        """`Owner`."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._leaving.add(connection)
        stack = self._idle.get(connection.origin)
        if stack is not None and connection in stack:
            stack.remove(connection)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def lost(self, connection: Connection) -> None:
        """`Owner`."""
        self._leaving.discard(connection)
        if not self._leaving and self._gone is not None:
            self._gone.set()

    async def _place(self, origin: str, fresh: bool) -> Connection | None:
        """A resting connection, or None when a new one may be dialled, which then counts already."""
        again = False
        while True:
            if self._closed:
                raise WireError("the client is closed")
            connection = None if fresh else self.reuse(origin)
            if connection is not None:
                return connection
            if self.size < self._bounds.connections or self._drop_oldest():
                self._dialling += 1
                return None
            await self._turn(first=again)
            again = True

    async def _turn(self, *, first: bool) -> None:
        """Waits until something changed. Who was woken and found nothing goes to the front again."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake()  # the turn was ours, and another can use it
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _dialled(self, target: Target) -> Connection:
        connection = Connection(target.origin, self)
        try:
            async with asyncio.timeout(self._bounds.connect):
                await self._dial(target, connection)
            if self._closed:
                raise WireError("the client is closed")
        except TimeoutError:
            connection.drop()
            raise WireTimeout(f"no connection to {target.authority} within {self._bounds.connect:g} s") from None
        except BaseException:
            connection.drop()
            raise
        else:
            if not connection.dropped:
                self._open.add(connection)
                self._tick()
            return connection
        finally:
            self._dialling -= 1
            if connection not in self._open:
                self._wake()

    def _drop_oldest(self) -> bool:
        """Makes room by closing the connection that has rested longest; False where none rests."""
        stacks = [stack for stack in self._idle.values() if stack]
        if not stacks:
            return False
        now = monotonic()
        max(stacks, key=lambda stack: stack[0].silent_for(now))[0].drop()
        return True

    def _tick(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._bounds.tick, self._sweep)

    def _sweep(self) -> None:
        """One clock for all connections: cheaper than a timer for each exchange."""
        self._timer = None
        now = monotonic()
        resting = {connection for stack in self._idle.values() for connection in stack}
        for connection in tuple(self._open):
            silent = connection.silent_for(now)
            if connection in resting:
                if silent > self._bounds.idle_seconds:
                    connection.drop()
            elif silent > self._bounds.silence:
                connection.time_out(f"the upstream kept silent for {self._bounds.silence:g} s")
        if self._open:
            self._tick()
