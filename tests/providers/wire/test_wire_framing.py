"""Where an answer ends, and that nothing but its own end is taken for it."""

from collections.abc import Awaitable, Callable

import pytest
from wire_server import Peer, WireServer

from gateway.providers.wire import HttpClient, WireError

Serve = Callable[..., Awaitable[WireServer]]

LENGTH = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 11\r\n\r\nhello world"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\nother: y\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + LENGTH
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello world"
SELF_ENDING = {"length": LENGTH, "chunked": CHUNKED, "interim": INTERIM}


def cut(reply: bytes, closes: bool) -> Callable[[Peer], Awaitable[None]]:
    """Answers the n-th request with the reply in two pieces, cut before its n-th byte."""
    at = 0

    async def play(peer: Peer) -> None:
        nonlocal at
        while True:
            await peer.request()
            await peer.send(reply[:at], reply[at:])
            at += 1
            if closes:
                return

    return play


@pytest.mark.parametrize("reply", [*SELF_ENDING.values(), UNTIL_CLOSE], ids=[*SELF_ENDING, "until close"])
async def test_an_answer_cut_at_any_byte_is_the_same(serve: Serve, client: HttpClient, reply: bytes) -> None:
    closes = reply is UNTIL_CLOSE
    server = await serve(cut(reply, closes))
    for _ in range(len(reply)):
        async with client.request("POST", server.url, {}, b"") as response:
            assert (response.status, await response.body(100)) == (200, b"hello world")
        assert client.idle == (0 if closes else 1)
    assert server.accepted == (len(reply) if closes else 1)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("reply", SELF_ENDING.values(), ids=SELF_ENDING)
async def test_an_answer_that_stops_at_any_byte_is_an_error(
    serve: Serve, client: HttpClient, reply: bytes, reset: bool
) -> None:

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply[: peer.number - 1])
        if reset:
            peer.reset()

    server = await serve(play)
    for _ in reply:
        with pytest.raises(WireError):
            async with client.request("POST", server.url, {}, b"") as response:
                await response.body(100)
        assert client.open_connections == 0


async def test_what_came_of_a_truncated_body_is_delivered_before_the_error(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome")

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"") as response:
        pieces = response.chunks()
        assert await anext(pieces) == b"some"
        with pytest.raises(WireError):
            await anext(pieces)


async def test_a_body_until_close_that_is_reset_is_an_error(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        peer.reset()

    server = await serve(play)
    with pytest.raises(WireError):
        async with client.request("POST", server.url, {}, b"") as response:
            await response.body(100)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_server_that_will_close_is_not_asked_again(serve: Serve, client: HttpClient, head: bytes) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        await peer.left()

    server = await serve(play)
    for number in range(1, 3):
        async with client.request("GET", server.url, {}) as response:
            assert await response.body(100) == b"ok"
        assert (server.accepted, client.open_connections) == (number, 0)
