"""One program in a sandbox as the gateway sees it: its output under credit, its exit, its end.

Knows the process methods; buffers at most the credit it gave, whatever the toolhost sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from gateway.sandbox.channel import Channel
from gateway.sandbox.errors import ChannelBroken, SandboxError

__all__ = ["INITIAL_CREDIT", "Exit", "Killed", "Process"]

INITIAL_CREDIT = 256 << 10
WINDOW = 1 << 20
"""Credit of a program whose output is being read, after the first initial credit of it was."""
GRANT = 64 << 10
"""Consumed bytes that are given back at once."""
STDIN_CHUNK = 1 << 20
KILL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How the main process ended: an exit code or a signal number. `report` is what it wrote to descriptor 9,
    `output_bytes` what was sent or written to the file, `truncated` whether the file's limit cut it."""

    code: int | None
    signal: int | None
    report: str | None
    output_bytes: int
    truncated: bool


class Killed(msgspec.Struct, frozen=True):
    """`scope` is "session" if nothing less than ending every process of the sandbox was enough."""

    killed: int
    rounds: int
    scope: Literal["call", "session"]


class Process:
    """Made by Toolhost.spawn. Output that nobody takes holds the program back after 256 KiB."""

    def __init__(self, channel: Channel, call: str, forget: Callable[[str], None]) -> None:
        self.call = call
        self.pid = 0
        self._channel = channel
        self._forget = forget
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._credit = INITIAL_CREDIT
        self._consumed = 0
        self._total = 0
        self._queued = 0
        self._prepaid = 0
        self._widened = False
        self._exit: Exit | None = None
        self._error: SandboxError | None = None
        self._reading = False
        self._discarding = False
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs."""
        return self._exit

    # -- what arrives ----------------------------------------------------------------------------------------

    def arrived(self, fd: int, data: bytes) -> None:
        """Output from the toolhost. Raises ChannelBroken beyond the credit."""
        self._credit -= len(data)
        if not data or self._credit < 0:
            raise ChannelBroken("output beyond its credit")
        if self._discarding:
            self._take_back(len(data))
        else:
            self._chunks.append((fd, data))
            self._queued += len(data)
            self._wake()

    def ended(self, exit_: Exit) -> None:
        self._exit = exit_
        self._forget(self.call)
        self._wake()

    def lost(self, error: SandboxError) -> None:
        self._error = error
        self._wake()

    def abandon(self) -> None:
        """Nobody will ever ask again: end the program, drop its output."""
        self._discarding = True
        self._prepay()
        self._chunks.clear()
        self._queued = self._prepaid = 0
        self._channel.post("process.kill", {"call": self.call})

    def _take_back(self, size: int, at_once: bool = False) -> None:
        self._consumed += size
        self._total += size
        if self._total >= INITIAL_CREDIT and not self._widened:
            # Somebody keeps up: a wider window hides the round trip of a grant.
            self._widened = True
            self._consumed += WINDOW - INITIAL_CREDIT
        if self._consumed >= GRANT or (at_once and self._consumed):
            grant, self._consumed = self._consumed, 0
            self._credit += grant
            if self._exit is None:
                self._channel.notify("process.credit", {"call": self.call, "bytes": grant})

    def _prepay(self) -> None:
        """Give credit for what is still queued, once: nobody reads, and the program shall not stall on it."""
        owed = self._queued - self._prepaid
        self._prepaid += owed
        self._take_back(owed, at_once=True)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _changed(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    # -- what a caller does ----------------------------------------------------------------------------------

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1 or 2, bytes) as they come, until the exit. One consumer at a time; a consumer that stops early
        may be followed by another. Raises ChannelBroken or SandboxGone when the sandbox is lost."""
        if self._reading:
            raise RuntimeError("the output of a process has one consumer at a time")
        self._reading = True
        self._discarding = False
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    size = len(chunk[1])
                    paid = min(size, self._prepaid)
                    self._queued -= size
                    self._prepaid -= paid
                    self._take_back(size - paid)
                    yield chunk
                if self._exit is not None:
                    return
                if self._error is not None:
                    raise self._error
                await self._changed()
        finally:
            self._reading = False

    async def wait(self) -> Exit:
        """The exit. If nobody reads the output meanwhile, what goes beyond the buffered 256 KiB is dropped, so
        that a program nobody listens to can end."""
        while self._exit is None:
            if self._error is not None:
                raise self._error
            if not self._reading and not self._discarding:
                self._discarding = True
                self._prepay()
            await self._changed()
        return self._exit

    async def kill(self, timeout: float = KILL_SECONDS) -> Killed:
        """End the whole tree of the call: daemons, other sessions, fork bombs. Other calls go on."""
        reply = await self._channel.call("process.kill", {"call": self.call}, timeout=timeout)
        try:
            return msgspec.convert(reply.result, Killed)
        except msgspec.ValidationError as error:
            raise self._channel.break_off(f"bad result: {error}") from error

    async def signal(self, number: int, timeout: float = 10.0) -> None:
        """Send a signal to the program's process group. not_found when it has ended."""
        await self._channel.call("process.signal", {"call": self.call, "signal": number}, timeout=timeout)

    def send_stdin(self, data: bytes, eof: bool = False) -> None:
        """A few bytes whose arrival nobody waits for; what the program makes of them is seen in its output."""
        self._channel.post("process.stdin", {"call": self.call, "eof": eof}, data)

    async def write_stdin(self, data: bytes, eof: bool = False, timeout: float = 30.0) -> None:
        """Returns when the program's pipe took the bytes. invalid when it no longer reads (or takes none)."""
        view = memoryview(data)
        while True:
            piece, view = view[:STDIN_CHUNK], view[STDIN_CHUNK:]
            last = not view
            params = {"call": self.call, "eof": eof and last}
            await self._channel.call("process.stdin", params, bytes(piece), timeout)
            if last:
                return
