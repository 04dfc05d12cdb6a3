"""The answer to one request: status, headers, and the body as it comes. Must not know pools or URLs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from gateway.providers.wire.answer import Answer
from gateway.providers.wire.connection import Connection
from gateway.providers.wire.decoding import Inflater
from gateway.providers.wire.errors import WireError

__all__ = ["HttpResponse"]


_PLAIN = ("", "identity")


class HttpResponse:
    """`status` is a final one (200 and above). `headers` are as the upstream sent them, names in lower case,
    repeated ones joined by ", "; `content-encoding` and `content-length` stay, though the body comes decoded.

    Valid until its context is left; reading after that raises `WireError`.
    """

    __slots__ = ("_answer", "_connection", "_taken", "headers", "status")

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._connection: Connection | None = connection
        self._taken = False

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, once, in pieces that are never empty; what came while nobody read is one piece.

        The upstream waits when more than 256 KiB are unread. Raises `WireError` at the first read for a coding
        other than gzip and deflate, and later for a body that breaks off; `WireTimeout` for silence.
        """
        if self._taken:
            raise RuntimeError("a response's body is read once")
        self._taken = True
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        return _Chunks(self._read if coding in _PLAIN else _Decoded(self._read, coding).read)

    async def body(self, limit: int) -> bytes:
        """The whole body, or its first `limit` bytes, after which the connection is dropped."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                if self._connection is not None:
                    self._connection.fail(WireError("the answer is longer than its reader wants"))
                break
        return b"".join(pieces)[:limit]

    def leave(self) -> Connection | None:
        """Ends reading and hands the connection back, once."""
        connection, self._connection = self._connection, None
        return connection

    async def _read(self) -> bytes:
        connection = self._connection
        if connection is None:
            raise WireError("the response was left")
        return await connection.read(self._answer)


class _Chunks:
    """A plain iterator: an async generator would need closing, and costs more for each piece."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    def __aiter__(self) -> "_Chunks":
        return self

    async def __anext__(self) -> bytes:
        piece = await self._read()
        if not piece:
            raise StopAsyncIteration
        return piece


class _Decoded:
    """A body behind a content coding. Decodes a step when it is asked for one, so the reader sets the pace."""

    __slots__ = ("_coding", "_inflater", "_read")

    def __init__(self, read: Callable[[], Awaitable[bytes]], coding: str) -> None:
        self._read = read
        self._coding = coding
        self._inflater: Inflater | None = None

    async def read(self) -> bytes:
        # Not before the first read: the status of an answer counts even if its body cannot be decoded.
        inflater = self._inflater
        if inflater is None:
            first = await self._read()
            if not first:
                return b""  # an empty body needs no coding
            self._inflater = inflater = Inflater.of(self._coding)
            inflater.feed(first)
        while not (out := inflater.step()):
            piece = await self._read()
            if not piece:
                inflater.finish()
                return b""
            inflater.feed(piece)
        return out
