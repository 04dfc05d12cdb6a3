"""One connection: a request out, its answer in, one exchange after the other. Must not know pools or URLs.

This is the gateway's hot path. An exchange starts no task and no timer: the reader waits on one future, and
whoever owns the connection looks at its clock now and then.
"""

import asyncio
from time import monotonic
from typing import Protocol, cast

from gateway.providers.wire.answer import Answer
from gateway.providers.wire.errors import ConnectionClosed, WireError, WireTimeout

__all__ = ["HIGH_WATER", "Connection", "Owner"]

HIGH_WATER = 256 * 1024
"""Unread bytes above which the upstream is made to wait."""
_JOIN_BELOW = 64 * 1024
"""A body up to this size is copied behind its head, to leave in one system call."""


class Owner(Protocol):
    """Who keeps count of connections."""

    def dropped(self, connection: "Connection") -> None:
        """The connection is of no more use. Called once."""

    def lost(self, connection: "Connection") -> None:
        """Its socket is gone. Called once, after `dropped`."""


class Connection(asyncio.Protocol):
    """See the module. `origin` is the pool's key; `reused`: an exchange was completed on it before the current
    one, which was sent at `sent_at` (monotonic seconds); `dropped`: it is closed or about to be."""

    __slots__ = (
        "_answer",
        "_error",
        "_heard",
        "_loop",
        "_owner",
        "_paused",
        "_transport",
        "_waiter",
        "dropped",
        "origin",
        "reused",
        "sent_at",
    )

    def __init__(self, origin: str, owner: Owner) -> None:
        self.origin = origin
        self.reused = False
        self.dropped = False
        self.sent_at = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._error: WireError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._heard = monotonic()

    # What the pool and the client call.

    @property
    def answered(self) -> bool:
        """Whether a single byte of the current answer has come."""
        return self._answer is not None and self._answer.begun

    @property
    def reusable(self) -> bool:
        """The answer is whole, both sides want to go on, and the request has left completely."""
        answer, transport = self._answer, self._transport
        return (
            answer is not None
            and answer.whole
            and answer.clean
            and not self.dropped
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def send(self, head: bytes, body: bytes, *, bodyless: bool) -> Answer:
        """Starts an exchange. `bodyless`: whatever the answer's head says, no body follows it (HEAD)."""
        self._answer = answer = Answer(bodyless=bodyless)
        self._heard = self.sent_at = monotonic()
        transport = self._transport
        if self.dropped or transport is None or transport.is_closing():
            raise ConnectionClosed("the upstream closed the connection")
        if len(body) <= _JOIN_BELOW:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        return answer

    async def head(self, answer: Answer) -> None:
        """Returns when the answer has its head. What came before an error counts."""
        while not answer.has_head:
            await self._news(answer)

    async def read(self, answer: Answer) -> bytes:
        """All of the body that has come and is unread, waiting for some; b"" at its proper end."""
        while True:
            data = answer.take()
            if data:
                if self._paused:
                    self._resume()
                return data
            if answer.whole:
                return b""
            await self._news(answer)

    def rest(self) -> None:
        """Ends the exchange and waits for the next one. Bytes that come meanwhile drop the connection."""
        self.reused = True
        self._answer = None
        self._heard = monotonic()
        if self._paused:
            self._resume()

    def fail(self, error: WireError) -> None:
        """Ends the exchange and the connection at once; its reader gets the error, after what has come."""
        if self._error is None:
            self._error = error
        self._wake()
        self.drop()

    def silent_for(self, now: float) -> float:
        """Seconds since the other side was last heard, or since it was allowed to speak again."""
        return 0.0 if self._paused else now - self._heard

    def time_out(self, reason: str) -> None:
        """The owner's clock says that the upstream has kept silent for too long."""
        if self._answer is not None and not self._answer.whole:
            self.fail(WireTimeout(reason))

    def drop(self) -> None:
        """Closes the socket without ceremony. Idempotent."""
        if self.dropped:
            return
        self.dropped = True
        if self._answer is not None:
            self._answer.close()
        if self._transport is not None:
            self._transport.abort()
        self._owner.dropped(self)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are one in all but name

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.whole:
            # These bytes answer nothing; the next request must not take them for its own.
            self.drop()
            return
        self._heard = monotonic()
        try:
            answer.feed(data)
        except WireError as error:
            self.fail(error)
            return
        if answer.has_head:
            self._wake()
        if answer.unread > HIGH_WATER and not answer.whole and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        if self._answer is not None:
            self._answer.end()
        self._closed("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(f": {type(exc).__name__}" if exc is not None else "")
        self._transport = None
        self._owner.lost(self)

    # Inside.

    def _closed(self, how: str) -> None:
        if not self.dropped:
            self.fail(ConnectionClosed(f"the upstream closed the connection before the end of its answer{how}"))

    def _resume(self) -> None:
        self._paused = False
        self._heard = monotonic()
        if self._transport is not None:
            self._transport.resume_reading()

    async def _news(self, answer: Answer) -> None:
        """Waits until something about the answer has changed; raises when nothing will any more."""
        if self._answer is not answer:
            raise WireError("the response was left")
        if self._error is not None:
            raise self._error
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("an answer has one reader at a time")
        self._waiter = waiter = self._loop.create_future()
        await waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
