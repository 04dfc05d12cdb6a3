"""A connection with no socket, for properties over thousands of byte streams."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.providers.wire.answer import Answer
from gateway.providers.wire.connection import Connection
from gateway.providers.wire.response import HttpResponse

__all__ = ["MemoryOwner", "MemoryTransport", "answer_of", "run"]

T = TypeVar("T")


class MemoryTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: object) -> None: ...
    def writelines(self, list_of_data: object) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class MemoryOwner:
    def dropped(self, connection: Connection) -> None: ...
    def lost(self, connection: Connection) -> None: ...


def run(play: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await play()

    with asyncio.Runner() as runner:
        return runner.run(main())


async def answer_of(pieces: Sequence[bytes], *, closes: bool = True, method: str = "POST") -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection could be used again, of an answer that comes in these pieces,
    each read as it comes. Raises what the client raises."""
    connection = Connection("http://memory:80", MemoryOwner())
    connection.connection_made(MemoryTransport())
    answer = connection.send(b"", b"", bodyless=method == "HEAD")
    reading = asyncio.ensure_future(_read(connection, answer))
    for piece in pieces:
        await asyncio.sleep(0)
        connection.data_received(piece)
    reusable = connection.reusable
    if closes:
        connection.eof_received()
        connection.connection_lost(None)
    status, body = await reading
    return status, body, reusable


async def _read(connection: Connection, answer: Answer) -> tuple[int, bytes]:
    await connection.head(answer)
    response = HttpResponse(connection, answer)
    return response.status, b"".join([piece async for piece in response.chunks()])
