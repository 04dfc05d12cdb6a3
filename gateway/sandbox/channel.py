"""The channel: requests, replies and notifications over a byte stream that may break and come back.

Knows frames, numbering, acknowledgement and resumption. Deliberately does not know the methods (toolhost.py is
above) nor where the stream comes from (the driver's `attach` is below).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.sandbox import frames
from gateway.sandbox.errors import (
    ChannelBroken,
    SandboxError,
    SandboxGone,
    StreamClosed,
    ToolhostError,
    ToolhostTimeout,
)
from gateway.sandbox.stream import ByteStream
from gateway.sandbox.unacked import Unacked

__all__ = ["Channel", "Hello", "Reply"]

VERSION = 1
ATTACH_ATTEMPTS = 3
ATTACH_SECONDS = 10.0
"""For one attempt, from attaching to `resumed`."""
ATTACH_PAUSE = 0.1
MARKER_SEARCH = 64 << 20
"""Bytes of the old stream thrown away while looking for the marker."""
ACK_FRAMES = 32
ACK_BYTES = 64 << 10
ACK_SECONDS = 0.05
UNACKED_LIMIT = 64 << 20
"""Bytes sent and not acknowledged above which a call waits."""
ABANDONED_LIMIT = 10_000
_SMALL = 64 << 10


class Hello(msgspec.Struct, forbid_unknown_fields=True):
    """What the toolhost says first."""

    version: int
    pid: int
    nonce: str
    python: str
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a call and the raw bytes that came with it."""

    result: dict[str, Any]
    payload: bytes


class Channel:
    """`attach` opens the byte stream; it is called again, at most ATTACH_ATTEMPTS times, when one breaks.

    The reader task is owned here: made by `start`, ended by `aclose` or by the break it reports."""

    def __init__(self, attach: Callable[[], Awaitable[ByteStream]]) -> None:
        self._attach = attach
        self._stream: ByteStream | None = None
        self._parser = frames.FrameParser()
        self._reader: asyncio.Task[None] | None = None
        self._closing = False
        self._failure: SandboxError | None = None
        self._broken = asyncio.Event()
        self._hello: asyncio.Future[Hello] | None = None
        self._nonce = b""
        self._attempt = 0
        self._sent = 0
        self._received = 0
        self._ack_sent = 0
        self._ack_bytes = 0
        self._ack_timer: asyncio.TimerHandle | None = None
        self._unacked = Unacked(UNACKED_LIMIT)
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._abandoned: set[int] = set()
        self._listener: Callable[[str, dict[str, Any], bytes], None] | None = None
        self._on_broken: Callable[[SandboxError], None] | None = None

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self, timeout: float = 30.0) -> Hello:
        """Attach and wait for the toolhost's hello. Raises ToolhostTimeout, ChannelBroken, SandboxGone or what
        `attach` raises."""
        self._hello = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                self._stream = await self._attach()
                self._reader = asyncio.create_task(self._read(), name="sandbox-channel")
                return await self._hello
        except TimeoutError:
            raise ToolhostTimeout("hello", timeout) from None
        finally:
            if not self._nonce:
                await self.aclose()

    def subscribe(
        self,
        notification: Callable[[str, dict[str, Any], bytes], None],
        broken: Callable[[SandboxError], None],
    ) -> None:
        """Who gets notifications (it may raise ChannelBroken) and who is told, once, that the channel is gone."""
        self._listener = notification
        self._on_broken = broken

    @property
    def failure(self) -> SandboxError | None:
        """Why nothing can be called any more; None while the channel works."""
        return self._failure

    async def wait_broken(self) -> SandboxError:
        """Return when the channel is gone for good, with the reason."""
        await self._broken.wait()
        return self._failure or SandboxGone("the channel was closed")

    def break_off(self, reason: str) -> ChannelBroken:
        """Declare the toolhost a liar: every waiting call fails, the stream is closed."""
        error = ChannelBroken(reason)
        self._fail(error)
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        return error

    async def aclose(self) -> None:
        """End the reader task and close the stream; waiting calls fail with SandboxGone. Idempotent."""
        self._closing = True
        self._fail(SandboxGone("the channel was closed", "closed"))
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
            await asyncio.wait((self._reader,))
        if self._stream is not None:  # attached, but the reader never began
            await self._stream.aclose()

    # -- calling ---------------------------------------------------------------------------------------------

    async def call(self, method: str, params: dict[str, Any], payload: bytes = b"", timeout: float = 30.0) -> Reply:
        """One request, one answer. Raises ToolhostError (refused), ToolhostTimeout, ChannelBroken, SandboxGone,
        ValueError (the request itself is over the limits; nothing was sent).

        Cancelling it is safe: the late answer is dropped. What the method does is not undone."""
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        number = self._next_id = self._next_id + 1
        future: asyncio.Future[Reply] = loop.create_future()
        self._send({"id": number, "method": method, "params": params}, payload)
        self._waiting[number] = future
        timer = loop.call_later(timeout, _expire, future, method, timeout)
        try:
            if self._unacked.full:
                await self._unacked.room(future)
            return await future
        finally:
            timer.cancel()
            if self._waiting.pop(number, None) is not None:
                self._abandon(number)

    def post(self, method: str, params: dict[str, Any], payload: bytes = b"") -> None:
        """A request whose answer nobody waits for. Never raises."""
        if self._failure is not None:
            return
        number = self._next_id = self._next_id + 1
        self._abandon(number)
        self._send({"id": number, "method": method, "params": params}, payload)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """A notification. Dropped when the channel is gone."""
        if self._failure is None:
            self._send({"method": method, "params": params}, b"")

    def _abandon(self, number: int) -> None:
        if self._failure is None:
            self._abandoned.add(number)
            if len(self._abandoned) > ABANDONED_LIMIT:
                self.break_off("the toolhost leaves calls unanswered")

    def _send(self, message: dict[str, Any], payload: bytes) -> None:
        seq = self._sent + 1
        message["jsonrpc"] = "2.0"
        message["seq"] = seq
        message["ack"] = self._received
        front = frames.encode(message, len(payload))
        self._sent = seq
        self._unacked.add(seq, front, payload)
        self._ack_sent = self._received
        self._ack_bytes = 0
        self._write(front, payload)

    def _write(self, front: bytes, payload: bytes) -> None:
        if (stream := self._stream) is None:
            return
        try:
            stream.write(front + payload if len(payload) <= _SMALL else front)
            if len(payload) > _SMALL:
                stream.write(payload)
        except StreamClosed:
            return  # kept: the reader sees the end of this stream and sends it again on the next

    def _control(self) -> None:
        self._ack_sent = self._received
        self._ack_bytes = 0
        self._write(frames.encode({"seq": 0, "ack": self._received}), b"")

    # -- reading ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        stream = self._stream
        try:
            while stream is not None and self._failure is None:
                while data := await stream.read():
                    self._take(data)
                    if self._failure is not None:
                        break
                if self._failure is None:
                    self._stream = None
                    await stream.aclose()
                    stream = await self._reattach()
        except SandboxError as error:
            self._fail(error)
        finally:
            self._stream = None
            if stream is not None:
                await stream.aclose()
            self._fail(SandboxGone("the stream ended"))

    def _take(self, data: bytes) -> None:
        for header, payload in self._parser.feed(data):
            if header.ack > self._sent or header.ack < 0 or header.seq < 0:
                raise ChannelBroken("acknowledges what was never sent")
            self._unacked.acknowledged(header.ack)
            if header.seq == 0:
                if header.method is not None:
                    raise ChannelBroken("unexpected control frame")
                continue
            if header.seq <= self._received:
                continue
            if header.seq != self._received + 1:
                raise ChannelBroken("gap in the sequence")
            self._received = header.seq
            self._ack_bytes += len(payload)
            self._dispatch(header, payload)
        owed = self._received - self._ack_sent
        if owed and (owed >= ACK_FRAMES or self._ack_bytes >= ACK_BYTES):
            self._control()
        elif owed and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_SECONDS, self._ack_when_idle)

    def _ack_when_idle(self) -> None:
        self._ack_timer = None
        if self._received != self._ack_sent and self._failure is None:
            self._control()

    def _dispatch(self, header: frames.Header, payload: bytes) -> None:
        if header.seq == 1 or self._hello is None or not self._hello.done():
            self._greet(header)
        elif header.id is not None:
            self._reply(header, payload)
        elif header.method is not None and header.result is None and header.error is None:
            if self._listener is None:
                raise ChannelBroken(f"nobody asked for {header.method[:64]!r}")
            self._listener(header.method, header.params, payload)
        else:
            raise ChannelBroken("neither a reply nor a notification")

    def _greet(self, header: frames.Header) -> None:
        if header.method != "hello" or self._hello is None or self._hello.done():
            raise ChannelBroken("the first frame is not hello")
        try:
            hello = msgspec.convert(header.params, Hello)
            nonce = bytes.fromhex(hello.nonce)
        except (msgspec.ValidationError, ValueError) as error:
            raise ChannelBroken(f"bad hello: {error}") from error
        if hello.version != VERSION or len(nonce) != 16:
            raise ChannelBroken(f"toolhost speaks version {hello.version}, not {VERSION}")
        self._nonce = nonce
        self._hello.set_result(hello)

    def _reply(self, header: frames.Header, payload: bytes) -> None:
        number = header.id or 0
        if (header.result is None) == (header.error is None) or header.method is not None:
            raise ChannelBroken("a reply needs either a result or an error")
        future = self._waiting.pop(number, None)
        if future is None:
            if number not in self._abandoned:
                raise ChannelBroken("answers a call that was never made")
            self._abandoned.discard(number)
        elif future.done():
            return  # timed out or cancelled in this very moment
        elif header.error is not None:
            reason = header.error.data.get("reason")
            future.set_exception(
                ToolhostError(
                    reason if isinstance(reason, str) else "internal", header.error.message, header.error.data
                )
            )
        elif header.result is not None:
            future.set_result(Reply(header.result, payload))

    # -- breaking and resuming -------------------------------------------------------------------------------

    async def _reattach(self) -> ByteStream:
        if not self._nonce:
            raise SandboxGone("the sandbox ended before it said hello")
        cause: BaseException | None = None
        for attempt in range(ATTACH_ATTEMPTS):
            if attempt:
                await asyncio.sleep(ATTACH_PAUSE * attempt)
            try:
                async with asyncio.timeout(ATTACH_SECONDS):
                    return await self._resume_on(await self._attach())
            except (SandboxGone, ChannelBroken):
                raise
            except (SandboxError, StreamClosed, OSError, TimeoutError) as error:
                cause = error
        raise SandboxGone(f"the sandbox cannot be reached any more: {cause}") from cause

    async def _resume_on(self, stream: ByteStream) -> ByteStream:
        try:
            self._attempt += 1
            stream.write(self._nonce)
            hail = {"seq": 0, "ack": self._received, "id": self._attempt, "method": "resume"}
            stream.write(frames.encode(hail))
            ack, rest = await self._answer_to_resume(stream)
            self._parser.reset()
            if not 0 <= ack <= self._sent:
                raise ChannelBroken("acknowledges what was never sent")
            self._unacked.acknowledged(ack)
            self._take(rest)
            self._stream = stream
            for front, payload in self._unacked.frames():
                self._write(front, payload)
            self._control()
        except BaseException:
            self._stream = None
            await stream.aclose()
            raise
        return stream

    async def _answer_to_resume(self, stream: ByteStream) -> tuple[int, bytes]:
        """(ack of the toolhost, bytes after its answer). What comes before is of the broken stream; an answer
        to an earlier attempt is passed over, because the toolhost starts anew for this one."""
        marker = self._nonce
        buffer = b""
        seen = 0
        while data := await stream.read():
            seen += len(data)
            buffer += data
            while (at := buffer.find(marker)) >= 0:
                buffer = buffer[at:]
                answer = frames.FrameParser.first(buffer[len(marker) :])
                if answer is None:
                    break
                header, rest = answer
                if header.seq or header.method != "resumed":
                    raise ChannelBroken("no answer to resume behind the marker")
                if header.id == self._attempt:
                    return header.ack, rest
                buffer = rest
            if not buffer.startswith(marker):
                buffer = buffer[-(len(marker) - 1) :]
            if seen > MARKER_SEARCH:
                raise ChannelBroken("no resume marker in sight")
        raise StreamClosed("the stream ended before it resumed")

    def _fail(self, error: SandboxError) -> None:
        if self._failure is not None:
            return
        self._failure = error
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._unacked.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(error)
            self._hello.exception()  # start() may be gone already
        if self._on_broken is not None:
            self._on_broken(error)
        self._broken.set()


def _expire(future: asyncio.Future[Reply], method: str, seconds: float) -> None:
    if not future.done():
        future.set_exception(ToolhostTimeout(method, seconds))
