"""An upstream that plays bytes: whatever a test writes goes on the wire as it is, in its own time, to any end.

Runs on a loop and a thread of its own, so that a test may wait for a gateway while it plays. Knows just enough HTTP
to tell where a request ends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.support.processes import until

__all__ = ["Again", "End", "Pause", "RawUpstream", "Script", "Step", "chunk", "chunked", "with_length"]

End = Literal["close", "reset", "half-close", "stall", "hold"]
"""`stall` says nothing until the other side gives up; `hold` waits for `let_go`."""


@dataclass(frozen=True)
class Again:
    """The same bytes over and over, as fast as they are taken; without `times`, until the other side goes."""

    piece: bytes
    times: int | None = None


@dataclass(frozen=True)
class Pause:
    """Nothing for so long."""

    seconds: float


Step = bytes | Again | Pause | End
Script = Sequence[Step]
NOT_FOUND: Script = (b"HTTP/1.1 404 X\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}",)

MAX_HEAD = 1 << 20


def with_length(body: bytes, status: int = 200, content_type: str = "text/event-stream", *more: str) -> bytes:
    """An answer that states its length."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def chunked(pieces: Iterable[bytes], *, end: bool = True) -> bytes:
    """A chunked answer, each piece a chunk; without `end` it goes on."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(chunk(piece) for piece in pieces if piece) + (b"0\r\n\r\n" if end else b"")


@dataclass
class RawUpstream:
    """`open` connections there are now, `accepted` ever; `asked` are the bodies of the POSTs since the last `play`."""

    asked: list[bytes] = field(default_factory=list)
    accepted: int = 0
    open: int = 0
    playing: int = 0
    _scripts: list[Script] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _held: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> RawUpstream:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self._server, "the raw upstream")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, *scripts: Script) -> None:
        """What the next POSTs are answered with, in turn; the last one again and again."""
        self._held.clear()
        self.asked = []
        self._scripts = list(scripts)

    def let_go(self) -> None:
        """What is held goes on, now and until the next `play`."""
        self._loop.call_soon_threadsafe(self._held.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accepted, "127.0.0.1", 0))
        try:
            self._loop.run_forever()
        finally:
            self._server.close()
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        self.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(_Peer(reader, writer))
        finally:
            self.open -= 1
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, peer: _Peer) -> None:
        while True:
            method, body = await peer.request()
            script = NOT_FOUND
            if method == b"POST":
                self.asked.append(body)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            self.playing += 1
            try:
                if not await peer.while_there(self._play(peer, script)):
                    return
            finally:
                self.playing -= 1

    async def _play(self, peer: _Peer, script: Script) -> bool:
        """False when the connection is over."""
        for step in script:
            match step:
                case bytes():
                    await peer.say(step)
                case Again(piece, times):
                    said = 0
                    while times is None or said < times:
                        await peer.say(piece)
                        said += 1
                        if said % 64 == 0:
                            await asyncio.sleep(0)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case "close":
                    return False
                case "reset":
                    peer.reset()
                    return False
                case "half-close":
                    peer.writer.write_eof()
                    await asyncio.Event().wait()
                case "stall":
                    await asyncio.Event().wait()
                case "hold":
                    await self._held.wait()
        return True


class _Peer:
    """One connection of the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._early = b""

    async def request(self) -> tuple[bytes, bytes]:
        """The next request's method and body."""
        data = self._early
        while b"\r\n\r\n" not in data:
            data += await self._more()
            assert len(data) < MAX_HEAD
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += await self._more()
        self._early = body[length:]
        return head.split(b" ", 1)[0], body[:length]

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def while_there(self, playing: Coroutine[None, None, bool]) -> bool:
        """What the coroutine returns; False as soon as the gateway closes the connection."""
        play = asyncio.ensure_future(playing)
        watch = asyncio.ensure_future(self._reader.read(65536))
        try:
            await asyncio.wait({play, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not play.done():
                early = watch.result()
                self._early += early
                if not early:
                    return False
            return await play
        finally:
            for one in (play, watch):
                one.cancel()
            done = await asyncio.gather(play, watch, return_exceptions=True)
            if isinstance(done[1], bytes) and not self._early:
                self._early = done[1]

    async def _more(self) -> bytes:
        data = await self._reader.read(65536)
        if not data:
            raise ConnectionResetError
        return data
