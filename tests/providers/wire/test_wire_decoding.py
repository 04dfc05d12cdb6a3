"""Answers that are compressed though nobody asked: decoded in bounded steps, or refused."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable

import pytest
from wire_server import Peer, WireServer

from gateway.providers.wire import HttpClient, WireError
from gateway.providers.wire.decoding import STEP, Inflater

Serve = Callable[..., Awaitable[WireServer]]
TEXT = b"some text, " * 5000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def sends(coding: bytes, body: bytes) -> Callable[[Peer], Awaitable[None]]:
    async def play(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (coding, len(body)), body
            )

    return play


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(TEXT)),
        (b"X-GZip", gzip.compress(TEXT)),
        (b"deflate", zlib.compress(TEXT)),
        (b"deflate", raw_deflate(TEXT)),
        (b"identity", TEXT),
        (b"", TEXT),
    ],
)
async def test_a_body_comes_decoded(serve: Serve, client: HttpClient, coding: bytes, body: bytes) -> None:
    server = await serve(sends(coding, body))
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(1_000_000) == TEXT
    assert client.idle == 1


async def test_an_empty_body_needs_no_coding(serve: Serve, client: HttpClient) -> None:
    server = await serve(sends(b"gzip", b""))
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(100) == b""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"br", b"whatever"),
        (b"gzip, gzip", gzip.compress(gzip.compress(TEXT))),
        (b"gzip", TEXT),
        (b"gzip", gzip.compress(TEXT)[:-1]),
        (b"gzip", gzip.compress(TEXT)[:5]),
        (b"gzip", gzip.compress(TEXT) + b"more"),
        (b"gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        (b"deflate", b"\x78"),
        (b"deflate", zlib.compress(TEXT)[:-1]),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_an_error_that_leaves_the_status_readable(
    serve: Serve, client: HttpClient, coding: bytes, body: bytes
) -> None:
    server = await serve(sends(coding, body))
    async with client.request("GET", server.url, {}) as response:
        assert response.status == 200
        with pytest.raises(WireError):
            await response.body(1_000_000)


async def test_a_bomb_unpacks_at_its_readers_pace(serve: Serve, client: HttpClient) -> None:
    server = await serve(sends(b"gzip", gzip.compress(bytes(200_000_000), 1)))
    async with client.request("GET", server.url, {}) as response:
        pieces = response.chunks()
        for _ in range(20):
            assert 0 < len(await anext(pieces)) <= STEP


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_what_a_full_step_leaves_inside_the_decoder_comes_with_the_next(pack: Callable[[bytes], bytes]) -> None:
    """A run that ends a little beyond a step: all input is used up while output still waits."""
    coding = "gzip" if pack is gzip.compress else "deflate"
    for beyond in range(0, 300, 7):
        decoder, total = Inflater.of(coding), 0
        decoder.feed(pack(bytes(STEP + beyond)))
        while piece := decoder.step():
            total += len(piece)
        decoder.finish()
        assert total == STEP + beyond


async def test_a_body_limit_counts_decoded_bytes(serve: Serve, client: HttpClient) -> None:
    server = await serve(sends(b"gzip", gzip.compress(bytes(10_000_000))))
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(1000) == bytes(1000)
    assert client.open_connections == 0


async def test_events_flushed_one_by_one_are_decoded_one_by_one(serve: Serve, client: HttpClient) -> None:
    events = [b"data: %d\n\n" % number for number in range(5)]
    seen = asyncio.Semaphore(0)

    async def play(peer: Peer) -> None:
        packer = zlib.compressobj(wbits=31)
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")
        for event in events:
            await peer.send(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH))
            await seen.acquire()
        await peer.send(packer.flush())

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"") as response:
        pieces = response.chunks()
        for event in events:
            assert await anext(pieces) == event
            seen.release()
        assert [piece async for piece in pieces] == []
