"""Hijacking the attach connection: not one byte of the stream lost, every other answer an error."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.broker.attach import hijack
from gateway.broker.errors import Refused

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


@contextmanager
def engine_that_says(path: Path, *parts: bytes) -> Iterator[None]:
    """An engine's socket that answers one request with these bytes and hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    "parts",
    [(UPGRADED + b"stream",), (UPGRADED, b"stream"), (UPGRADED[:20], UPGRADED[20:-2], UPGRADED[-2:] + b"stream")],
)
def test_the_stream_begins_right_after_the_head(place: Path, parts: tuple[bytes, ...]) -> None:
    with engine_that_says(place / "e", *parts):
        connection = hijack(str(place / "e"), "1.41", "name", time_limit=10)
        with connection, connection.makefile("rb") as stream:
            assert stream.read() == b"stream"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not_found"),
        (b"HTTP/1.1 409 Conflict\r\n\r\n", "engine"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "engine"),
        (b"nonsense\r\n\r\n", "engine"),
        (b"HTTP/1.1 101 UPGRADED\r\n", "engine"),
        (b"", "engine"),
        (b"x" * 20000, "engine"),
    ],
)
def test_anything_but_an_upgrade_is_refused(place: Path, answer: bytes, reason: str) -> None:
    with engine_that_says(place / "e", answer):
        with pytest.raises(Refused) as caught:
            hijack(str(place / "e"), "1.41", "name", time_limit=10)
    assert caught.value.reason == reason
