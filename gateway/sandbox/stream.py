"""Byte streams under the channel: pipes, an engine's attached stdio, memory.

Knows bytes and back-pressure only; deliberately not frames, acknowledgements or resumption.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Protocol

from gateway.sandbox.errors import StreamClosed

__all__ = ["AttachStream", "ByteStream", "MemoryStream", "PipeStream", "memory_pair"]

READ_SIZE = 256 << 10
READ_AHEAD = 1 << 20
"""Bytes read and not yet taken before the stream stops reading the descriptor."""
WRITE_AHEAD = 1 << 20
"""Bytes buffered for writing above which `drain` waits."""
STDERR_TAIL = 8 << 10
_DEMUX_LIMIT = 16 << 20


class ByteStream(Protocol):
    """One full-duplex stream of bytes. One reader at a time."""

    async def read(self) -> bytes:
        """The next bytes, any number above 0; b"" at the end. Never raises at the end."""
        ...

    def write(self, data: bytes) -> None:
        """Send or buffer. Raises StreamClosed."""
        ...

    async def drain(self) -> None:
        """Wait until little is buffered. Raises StreamClosed."""
        ...

    async def aclose(self) -> None:
        """Close both directions; a waiting read gets b"". Idempotent."""
        ...


class _Inbox:
    """Chunks between a producer callback and one awaiting reader."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self.size = 0

    def put(self, data: bytes) -> None:
        self._chunks.append(data)
        self.size += len(data)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._chunks.popleft()
        self.size -= len(data)
        return data


class PipeStream:
    """Two descriptors (or one socket twice), read and written without blocking. Owns and closes them.

    Must be made inside the running loop."""

    def __init__(self, read_fd: int, write_fd: int, initial: bytes = b"") -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._write_fd = write_fd
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._inbox = _Inbox()
        self._reading = False
        self._ended = False
        self._pending: deque[memoryview] = deque()
        self._pending_size = 0
        self._writing = False
        self._broken = False
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        if initial:
            self._inbox.put(initial)
        self._listen()

    def _listen(self) -> None:
        if not self._reading and not self._ended and not self._closed:
            self._loop.add_reader(self._read_fd, self._readable)
            self._reading = True

    def _pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._read_fd)
            self._reading = False

    def _readable(self) -> None:
        try:
            data = os.read(self._read_fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended = True
            self._pause()
            self._inbox.end()
            return
        self._inbox.put(data)
        if self._inbox.size >= READ_AHEAD:
            self._pause()

    async def read(self) -> bytes:
        data = await self._inbox.get()
        if not self._reading and self._inbox.size < READ_AHEAD:
            self._listen()
        return data

    def write(self, data: bytes) -> None:
        if self._closed or self._broken:
            raise StreamClosed("the stream is closed")
        view = memoryview(data)
        if not self._pending:
            view = view[self._push(view) :]
        if view:
            self._pending.append(view)
            self._pending_size += len(view)
            if not self._writing:
                self._loop.add_writer(self._write_fd, self._writable)
                self._writing = True

    def _push(self, view: memoryview) -> int:
        try:
            return os.write(self._write_fd, view)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail()
            raise StreamClosed("the other side is gone") from error

    def _writable(self) -> None:
        try:
            while self._pending:
                view = self._pending[0]
                written = self._push(view)
                self._pending_size -= written
                if written < len(view):
                    self._pending[0] = view[written:]
                    break
                self._pending.popleft()
        except StreamClosed:
            return
        if not self._pending:
            self._stop_writing()
        if self._pending_size < WRITE_AHEAD and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _stop_writing(self) -> None:
        if self._writing:
            self._loop.remove_writer(self._write_fd)
            self._writing = False

    def _fail(self) -> None:
        self._broken = True
        self._stop_writing()
        self._pending.clear()
        self._pending_size = 0
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        while self._pending_size >= WRITE_AHEAD:
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        if self._closed or self._broken:
            raise StreamClosed("the stream is closed")

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pause()
        self._fail()
        self._inbox.end()
        os.close(self._read_fd)
        if self._write_fd != self._read_fd:
            os.close(self._write_fd)


class AttachStream:
    """An engine's hijacked attach connection: raw bytes go to stdin, multiplexed frames come back.

    Frame: one byte stream type, three zero bytes, four bytes length (big endian). Type 1 is the channel; type 2
    (toolhost stderr) and 3 (engine message) are kept as a tail. Source: Engine API, ContainerAttach.
    Takes over `fd`; `initial` are bytes already read past the HTTP response head."""

    def __init__(self, fd: int, initial: bytes = b"") -> None:
        self._raw = PipeStream(fd, fd, initial)
        self._buffer = bytearray()
        self._tail = bytearray()
        self._broken = False

    def stderr_tail(self) -> str:
        """The last 8 KiB of what the toolhost wrote to its standard error."""
        return self._tail.decode("utf-8", "replace")

    async def read(self) -> bytes:
        while not self._broken:
            data = await self._raw.read()
            if not data:
                return b""
            out = self._demux(data)
            if out:
                return out
        return b""

    def _demux(self, data: bytes) -> bytes:
        buffer = self._buffer
        buffer += data
        pieces = []
        at = 0
        while len(buffer) - at >= 8:
            kind = buffer[at]
            size = int.from_bytes(buffer[at + 4 : at + 8], "big")
            if kind not in (1, 2, 3) or any(buffer[at + 1 : at + 4]) or size > _DEMUX_LIMIT:
                # Not the engine's framing: the stream is useless, which looks like its end to the channel.
                self._broken = True
                break
            end = at + 8 + size
            if len(buffer) < end:
                break
            if kind == 1:
                pieces.append(bytes(buffer[at + 8 : end]))
            else:
                self._tail += buffer[at + 8 : end]
                del self._tail[:-STDERR_TAIL]
            at = end
        del buffer[:at]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes) -> None:
        self._raw.write(data)

    async def drain(self) -> None:
        await self._raw.drain()

    async def aclose(self) -> None:
        await self._raw.aclose()


class MemoryStream:
    """One end of a pair in memory: the in-memory twin of the streams above, for tests and fakes."""

    def __init__(self) -> None:
        self._inbox = _Inbox()
        self._closed = False
        self._peer: MemoryStream | None = None

    def connect(self, peer: MemoryStream) -> None:
        self._peer = peer

    async def read(self) -> bytes:
        return await self._inbox.get()

    def write(self, data: bytes) -> None:
        if self._closed or self._peer is None or self._peer._closed:
            raise StreamClosed("the stream is closed")
        if data:
            self._peer._inbox.put(bytes(data))

    async def drain(self) -> None:
        if self._closed or self._peer is None or self._peer._closed:
            raise StreamClosed("the stream is closed")

    async def aclose(self) -> None:
        self._closed = True
        self._inbox.end()
        if self._peer is not None:
            self._peer._inbox.end()


def memory_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends."""
    left, right = MemoryStream(), MemoryStream()
    left.connect(right)
    right.connect(left)
    return left, right
