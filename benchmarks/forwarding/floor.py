"""The floor: the cheapest relay in the gateway's own framework. FastAPI, one plain ASGI endpoint, a bare pooled
client; it reads no header, checks no key, parses nothing.

    python -m benchmarks.forwarding.floor http://127.0.0.1:PORT
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvicorn
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

__all__ = ["main"]


class _Connection(asyncio.Protocol):
    """One connection to the upstream: a request at a time, its answer as pieces."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._complete = True
        self.kind = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._complete = True
        self._news.set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if len(self._pieces) > 1:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self._pieces.append(whole)
            if len(whole) > 1 << 18 and self.transport is not None:
                self.transport.pause_reading()
        self._news.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self.kind = value

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = True

    def send(self, request: bytes, body: bytes) -> None:
        assert self.transport is not None
        self._complete = False
        self.transport.write(request + body)

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                yield self._pieces.popleft()
                if self.transport is not None and not self._pieces:
                    self.transport.resume_reading()
            if self._complete:
                return
            self._news.clear()
            await self._news.wait()


class _Relay:
    """The ASGI endpoint."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._idle: list[_Connection] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        connection = await self._connection()
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: {self._host}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection.send(head.encode(), bytes(body))
        begun = False
        async for piece in connection.pieces():
            if not begun:
                begun = True
                headers = [(b"content-type", connection.kind)]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self._idle.append(connection)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return connection


class _Server(uvicorn.Server):
    """Says where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)


def main(upstream: str) -> None:
    app = FastAPI()
    app.router.routes.append(Route("/v1/messages", _Relay(upstream), methods=["POST"]))
    _Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", access_log=False, log_level="warning"
        )
    ).run()


if __name__ == "__main__":
    main(sys.argv[1])
