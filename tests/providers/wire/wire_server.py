"""A server of exact bytes for the tests of the wire client: what it sends, and when, is the test's to say."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["OK", "Peer", "Play", "Request", "WireServer", "turns", "until"]

WAIT = 10.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def turns(count: int = 3) -> None:
    """Lets the event loop go round, so that what was written is read on the other side."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once the condition holds; fails the test when it never does."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Request:
    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name:
                return value.strip().decode()
        return None


class Peer:
    """One accepted connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Request:
        """The next whole request. Raises IncompleteReadError when the client left."""
        request = Request(await self.head(), b"")
        length = int(request.header("content-length") or 0)
        return Request(request.head, await self.reader.readexactly(length))

    async def send(self, *pieces: bytes) -> None:
        """Each piece arrives as a piece."""
        for piece in pieces:
            if piece:
                if self.writer.is_closing():
                    raise ConnectionResetError
                self.writer.write(piece)
                await self.writer.drain()
                await turns()

    async def left(self) -> None:
        """Returns when the client has closed its side, however."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with a RST."""
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):  # the client was first
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Play = Callable[[Peer], Awaitable[None]]


class WireServer:
    """Runs `play` on every connection. `accepted` counts them all, `here` those still open."""

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.accepted = 0
        self.here = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://localhost:{self.port}"

    async def start(self, host: str = "127.0.0.1") -> "WireServer":
        self._server = await asyncio.start_server(self._accept, host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.here += 1
        peer = Peer(self.accepted, reader, writer)
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve(peer)))

    async def _serve(self, peer: Peer) -> None:
        try:
            # A client that leaves ends the play; what a test wants to know of it, it asks the client.
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await self._play(peer)
        finally:
            peer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(WAIT):
                    await peer.writer.wait_closed()
            self.here -= 1

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        await turns()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
