"""A TLS connection through an HTTP proxy: CONNECT, and then the handshake with the host behind it."""

import asyncio
import ssl

from gateway.providers.wire.answer import HEAD_LIMIT
from gateway.providers.wire.connection import Connection
from gateway.providers.wire.errors import ConnectionClosed, WireError
from gateway.providers.wire.proxy import Proxy
from gateway.providers.wire.target import Target, authority

__all__ = ["open_tunnel"]

_END = b"\r\n\r\n"
_REFUSALS = {
    403: "its rules do not allow it",
    407: "it wants other credentials than the ones in the proxy's URL",
    502: "it cannot reach the host",
    503: "it cannot reach the host",
    504: "the host did not answer it in time",
}


async def open_tunnel(proxy: Proxy, target: Target, connection: Connection, tls: ssl.SSLContext) -> None:
    """Connects `connection` to the target through the proxy. Raises `WireError` with what the proxy said,
    or `OSError`. Cancelled, it leaves no socket."""
    loop = asyncio.get_running_loop()
    where = authority(target.host, target.port)
    transport, opening = await loop.create_connection(_Opening, proxy.host, proxy.port)
    try:
        lines = [f"CONNECT {where} HTTP/1.1", f"host: {where}", *(f"{k}: {v}" for k, v in proxy.headers.items())]
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head, rest = await opening.head
        status = _status(head)
        if not 200 <= status < 300:
            reason = f": {_REFUSALS[status]}" if status in _REFUSALS else ""
            raise WireError(f"the proxy {proxy.name} refused a tunnel to {where} with status {status}{reason}")
        if rest:  # in TLS the client speaks first
            raise WireError(f"the proxy {proxy.name} sent more than its answer")
        inner = await loop.start_tls(transport, connection, tls, server_hostname=target.host)
        if inner is None:
            raise ConnectionClosed(f"the proxy {proxy.name} closed the tunnel to {where}")
    except BaseException:
        transport.abort()
        raise
    connection.connection_made(inner)


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b" ")
    digits = rest[:3]
    if not version.startswith(b"HTTP/1.") or len(digits) != 3 or not digits.isdigit():
        raise WireError("the proxy's answer is not HTTP")
    return int(digits)


class _Opening(asyncio.Protocol):
    """Collects the head of the proxy's answer, and whether anything follows it."""

    def __init__(self) -> None:
        self.head: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._got = b""

    def data_received(self, data: bytes) -> None:
        if self.head.done():
            return
        self._got += data
        head, end, rest = self._got.partition(_END)
        if end:
            self.head.set_result((head, rest))
        elif len(self._got) > HEAD_LIMIT:
            self.head.set_exception(WireError("the proxy's answer has too large a head"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(ConnectionClosed("the proxy closed the connection before it answered"))
