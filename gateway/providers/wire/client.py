"""The pooled HTTP client of the providers: one method, and what it promises. Composes the parts beside it.

For answers that are forwarded as they come. It follows no redirects, keeps no cookies and decodes no text.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from types import TracebackType

from gateway.providers.wire.connection import Connection
from gateway.providers.wire.dial import Dialler
from gateway.providers.wire.errors import ConnectionClosed, WireError
from gateway.providers.wire.head import request_head
from gateway.providers.wire.pool import Bounds, Pool
from gateway.providers.wire.response import HttpResponse
from gateway.providers.wire.target import Target, target

__all__ = ["HttpClient"]

_STALE_SECONDS = 5.0
"""A connection that was dead when it was taken shows it within a round trip. One that closes later had an
upstream at work behind it, and asking again would do that work twice."""


class HttpClient:
    """Safe for concurrent use by the tasks of one event loop. Close it with `aclose`.

    `connect`: seconds to wait for a free connection, and then again for opening one, TLS and tunnel included.
    `silence`: seconds without a byte of an answer that is waited for. `connections`: most at a time, over all
    hosts. `idle_connections`, `idle_seconds`: how many rest for the next request, and how long. `ca_file`: PEM
    of authorities trusted besides the system's. `proxy`: `http://[user:password@]host:port`; `no_proxy`: hosts
    reached without it (`host`, `.suffix`, `*`, with an optional `:port`, comma-separated).

    Raises `WireError` for a proxy URL that makes no sense and `OSError` for a `ca_file` that cannot be read.
    """

    def __init__(
        self,
        *,
        connect: float = 10.0,
        silence: float = 600.0,
        connections: int = 500,
        idle_connections: int = 100,
        idle_seconds: float = 30.0,
        ca_file: Path | None = None,
        proxy: str | None = None,
        no_proxy: str = "",
    ) -> None:
        self._dialler = Dialler(ca_file=ca_file, proxy=proxy, no_proxy=no_proxy)
        self._pool = Pool(Bounds(connect, silence, connections, idle_connections, idle_seconds), self._dialler.open)

    @property
    def open_connections(self) -> int:
        """Connections in use, at rest and being opened."""
        return self._pool.size

    @property
    def idle(self) -> int:
        """Connections at rest."""
        return self._pool.idle

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Enters at the head of the final answer, whatever its status; interim ones are skipped.

        Leaving before the whole body has come closes the connection at once; else it is kept for the next
        request. The request is sent once more only where a kept connection turns out to have been dead: it
        closes at once and without a byte. `headers` may not hold `host`, `connection`, `content-length` or
        `transfer-encoding`. Raises `WireError`, here for a request that cannot be sent, or when entering.
        """
        where = target(url)
        head = request_head(method, where, headers, len(body), proxy_headers=self._dialler.proxy_headers(where))
        return _Exchange(self._pool, where, head, body, method == "HEAD")

    async def aclose(self) -> None:
        """Closes every connection, those in use too: their readers get a `WireError`. Idempotent."""
        await self._pool.aclose()


class _Exchange:
    """One request and its answer, as a context."""

    __slots__ = ("_body", "_bodyless", "_head", "_pool", "_response", "_where")

    def __init__(self, pool: Pool, where: Target, head: bytes, body: bytes, bodyless: bool) -> None:
        self._pool = pool
        self._where = where
        self._head = head
        self._body = body
        self._bodyless = bodyless
        self._response: HttpResponse | None = None

    async def __aenter__(self) -> HttpResponse:
        connection = self._pool.reuse(self._where.origin) or await self._pool.take(self._where)
        try:
            return await self._ask(connection)
        except ConnectionClosed:
            if not _was_stale(connection, monotonic()):
                raise
        return await self._ask(await self._pool.take(self._where, fresh=True))

    async def _ask(self, connection: Connection) -> HttpResponse:
        try:
            answer = connection.send(self._head, self._body, bodyless=self._bodyless)
            await connection.head(answer)
        except BaseException:
            connection.drop()
            raise
        self._response = HttpResponse(connection, answer)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._response.leave() if self._response is not None else None
        if connection is None:
            return
        if connection.reusable:
            self._pool.give(connection)
        else:
            connection.fail(WireError("the response was left"))


def _was_stale(connection: Connection, now: float) -> bool:
    return connection.reused and not connection.answered and now - connection.sent_at <= _STALE_SECONDS
