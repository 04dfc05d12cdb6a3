"""Properties of the framing over any bodies, any cuts and any noise. No sockets: thousands of streams."""

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_memory import MemoryOwner, MemoryTransport, answer_of, run
from wire_server import OK

from gateway.providers.wire import WireError
from gateway.providers.wire.connection import Connection
from gateway.providers.wire.errors import ConnectionClosed

LENGTH = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 11\r\n\r\nhello world"
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


def chunked(parts: list[bytes], head: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\n" + head + b"transfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_a_large_head_is_refused_even_when_it_comes_in_one_read_with_its_body() -> None:
    reply = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000 + b"content-length: 2\r\n\r\nok"
    with pytest.raises(WireError, match="too large a head"):
        run(lambda: answer_of([reply]))


def test_nothing_is_written_to_a_transport_that_is_closing() -> None:
    """Its loss has not been told yet; uvloop's transports raise errors of their own then."""

    async def send() -> None:
        connection = Connection("http://memory:80", MemoryOwner())
        transport = MemoryTransport()
        connection.connection_made(transport)
        transport.abort()
        with pytest.raises(ConnectionClosed):
            connection.send(b"", b"", bodyless=False)

    run(send)


@given(parts=BODIES, cuts=CUTS)
@settings(max_examples=150, deadline=None)
def test_any_split_of_a_chunked_answer_gives_the_same_body(parts: list[bytes], cuts: list[int]) -> None:
    reply = chunked(parts)
    assert run(lambda: answer_of(pieces(reply, cuts))) == (200, b"".join(parts), True)


@given(parts=BODIES, cuts=CUTS, coding=st.sampled_from(["gzip", "deflate", "raw deflate"]))
@settings(max_examples=100, deadline=None)
def test_any_split_of_a_compressed_answer_gives_the_same_body(parts: list[bytes], cuts: list[int], coding: str) -> None:
    body = b"".join(parts)
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": lambda b: zlib.compress(b)[2:-4]}[coding](
        body
    )
    reply = chunked(pieces(packed, cuts), b"content-encoding: %s\r\n" % coding.split()[-1].encode())
    assert run(lambda: answer_of(pieces(reply, cuts))) == (200, body, True)


@given(parts=BODIES, cuts=CUTS, at=st.integers(0, 400), packed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_part_of_an_answer_is_an_error(parts: list[bytes], cuts: list[int], at: int, packed: bool) -> None:
    whole = gzip.compress(b"".join(parts)) if packed else b"".join(parts)
    reply = chunked([whole] if whole else [], b"content-encoding: gzip\r\n" if packed else b"")
    part = reply[: at % len(reply)]
    with pytest.raises(WireError):
        run(lambda: answer_of(pieces(part, cuts)))


@given(
    start=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", chunked([b"a"])[:-5], LENGTH[:-3], OK]),
    noise=st.binary(max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_noise_is_an_answer_or_an_error_and_nothing_else(start: bytes, noise: bytes) -> None:
    try:
        status, _, _ = run(lambda: answer_of([start, noise]))
    except WireError:
        return
    assert status == 200
