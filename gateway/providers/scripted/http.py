"""A small HTTP/1.1 server that does what it is told, also when it is told to misbehave.

Knows requests, chunks and connections. Must not know scenarios or the Messages API. Not for the outside world:
it listens on loopback only.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from gateway.providers.scripted.delivery import Answer, Pause, Step

__all__ = ["HttpRequest", "HttpServer"]

_FLUSH = 64 * 1024
MAX_BODY = 32 * 1024 * 1024
"""Largest body that is read; the connection of a larger one is closed."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Respond = Callable[[HttpRequest], Awaitable[Answer]]
Closed = Callable[[HttpRequest, bool], None]


class HttpServer:
    """Serves `respond` on loopback. `done` is told of every request: whether its answer was sent to the end."""

    def __init__(self, respond: Respond, done: Closed) -> None:
        self._respond = respond
        self._done = done
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self, port: int = 0) -> int:
        """Begins to listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def aclose(self) -> None:
        """Stops listening, drops every connection and waits for what they were doing."""
        if self._server is not None:
            self._server.close()
        tasks = [task for one in self._connections for task in one.drop()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connection(self) -> "_Connection":
        return _Connection(self._respond, self._done, self._connections)


class _Connection(asyncio.Protocol):
    """One connection, its requests one after another."""

    def __init__(self, respond: Respond, done: Closed, connections: set["_Connection"]) -> None:
        self._respond = respond
        self._done = done
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._running: set[asyncio.Task[None]] = set()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._waiting = bytearray()

    def drop(self) -> list[asyncio.Task[None]]:
        """Aborts the connection; returns the tasks that end because of it."""
        if self._transport is not None:
            self._transport.abort()
        for task in self._running:
            task.cancel()
        return list(self._running)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by class
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._writable.set()
        for task in self._running:
            task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._abort()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            self._abort()

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path = urlsplit(self._url.decode("latin-1")).path
        request = HttpRequest(method, path, self._headers, bytes(self._body))
        task = asyncio.get_running_loop().create_task(self._serve(request, self._parser.should_keep_alive()))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        """Closes with a TCP reset in place of the orderly end."""
        if self._transport is not None:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    async def _serve(self, request: HttpRequest, keep_alive: bool) -> None:
        sent = False
        try:
            reply = await self._respond(request)
            sent = await self._carry_out(reply, request)
        finally:
            self._done(request, sent)
            if self._transport is not None and not (sent and keep_alive):
                self._transport.close()

    async def _carry_out(self, reply: Answer, request: HttpRequest) -> bool:
        for step in reply.before:
            if not await self._step(step, chunked=False):
                return False
        self._waiting += _head(reply)
        for step in reply.steps if request.method != "HEAD" else ():
            if not await self._step(step, chunked=not reply.whole):
                return False
        if not reply.whole:
            self._waiting += b"0\r\n\r\n"
        await self._flush()
        return True

    async def _step(self, step: Step, *, chunked: bool) -> bool:
        """Does one step; False when the connection is over with it."""
        match step:
            case bytes():
                self._waiting += b"%x\r\n%b\r\n" % (len(step), step) if chunked else step
                if len(self._waiting) > _FLUSH:
                    await self._flush()
                return True
            case Pause():
                await self._flush()
                await asyncio.sleep(step.seconds)
                return True
            case "stall":
                await self._flush()
                await asyncio.Event().wait()
            case "close":
                await self._flush()
            case "reset":
                await self._flush()
                self._reset()
        return False

    async def _flush(self) -> None:
        """Sends what waits: chunks keep their own frames, but share a packet unless a pause parts them."""
        if self._transport is not None and self._waiting:
            self._transport.write(bytes(self._waiting))
            self._waiting.clear()
            await self._writable.wait()


def _head(reply: Answer) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} scripted"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if reply.whole:
        length = sum(len(step) for step in reply.steps if isinstance(step, bytes))
        lines.append(f"content-length: {length}")
    else:
        lines.append("transfer-encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
