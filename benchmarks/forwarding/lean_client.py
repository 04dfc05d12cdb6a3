"""A client that costs next to nothing: one connection a caller, prepared bytes, no headers read but the status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from benchmarks.forwarding.lean_upstream import STAMP
from benchmarks.forwarding.requests import Ask

__all__ = ["LeanClient", "Times"]

ANSWER_SECONDS = 120.0
_ENDS = (b"message_stop", b"end_turn")


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds from sending a request; `transits` from the upstream's sending of each stamped delta.
    `received`: bytes of the answer's body."""

    first_byte: float
    whole: float
    transits: list[float]
    received: int


@dataclass(slots=True)
class _Answer:
    """One answer as it arrives."""

    began: float
    done: asyncio.Future[None]
    first: float = 0.0
    ended: float = 0.0
    received: int = 0
    before: bytes = b""
    last: bytes = b""
    transits: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: _Answer | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answer is not None and not self._answer.done.done():
            self._answer.done.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        assert answer is not None
        now = time.monotonic_ns()
        answer.first = answer.first or now / 1e6
        answer.received += len(body)
        if b"@" in body:
            answer.transits.extend((now - int(sent)) / 1e6 for sent in STAMP.findall(body))
        answer.before, answer.last = answer.last, body

    def on_message_complete(self) -> None:
        answer = self._answer
        assert answer is not None
        answer.ended = time.monotonic_ns() / 1e6
        if not answer.done.done():
            answer.done.set_result(None)

    async def ask(self, request: bytes) -> Times:
        assert self.transport is not None
        done = asyncio.get_running_loop().create_future()
        answer = self._answer = _Answer(time.monotonic_ns() / 1e6, done)
        self.transport.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            await done
        self._answer = None
        status = self._parser.get_status_code()
        tail = answer.before + answer.last
        if status != 200 or not any(end in tail for end in _ENDS):
            raise RuntimeError(f"status {status}: {tail[-300:]!r}")
        return Times(answer.first - answer.began, answer.ended - answer.began, answer.transits, answer.received)


class LeanClient:
    """Asks one server. `aclose` when done."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._key = key
        self._idle: list[_Connection] = []

    async def ask(self, ask: Ask) -> Times:
        """Raises RuntimeError when the answer is not 200 or not whole, ConnectionError, TimeoutError."""
        connection = self._idle.pop() if self._idle else await self._connect()
        while connection.transport is None:
            connection = self._idle.pop() if self._idle else await self._connect()
        try:
            times = await connection.ask(self._request(ask))
        except BaseException:
            if connection.transport is not None:
                connection.transport.abort()
            raise
        self._idle.append(connection)
        return times

    @property
    def open_connections(self) -> int:
        """Idle ones that the server has not closed."""
        return sum(connection.transport is not None for connection in self._idle)

    async def connect(self, connections: int) -> None:
        """Have so many connections open."""
        self._idle.extend([await self._connect() for _ in range(connections - len(self._idle))])

    async def aclose(self) -> None:
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.close()
        self._idle.clear()
        await asyncio.sleep(0)

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return connection

    def _request(self, ask: Ask) -> bytes:
        body = ask.body()
        headers: Mapping[str, Any] = {
            "host": f"{self._host}:{self._port}",
            "content-type": "application/json",
            "content-length": len(body),
            "anthropic-version": "2023-06-01",
            "x-api-key": self._key,
            **ask.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + body
