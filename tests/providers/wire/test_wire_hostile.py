"""Upstreams that send too much, too early or something else than HTTP."""

from collections.abc import Awaitable, Callable

import pytest
from wire_server import OK, Peer, WireServer, until

from gateway.providers.wire import HttpClient, WireError

Serve = Callable[..., Awaitable[WireServer]]


BAD = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "a chunk size that is none": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk size beyond all bounds": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "a coding of the transfer we cannot undo": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "an upgrade without words": b"HTTP/1.1 101 Switching\r\n\r\n",
    "an empty header name": b"HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 0\r\n\r\n",
    "one endless header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "a large head in one piece": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"content-length: 2\r\n\r\nok",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    "endless trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + b"x: y\r\n" * 20_000,
    "one endless trailer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: " + b"y" * 200_000,
    "an endless chunk extension": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;" + b"y" * 70_000,
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD)
async def test_what_is_not_a_sound_answer_is_an_error_at_once(serve: Serve, client: HttpClient, reply: bytes) -> None:
    """The server waits for the client to leave, so only the bytes themselves can be the reason."""

    async def play(peer: Peer) -> None:
        await peer.request()
        for start in range(0, len(reply), 30_000):
            await peer.send(reply[start : start + 30_000])
        await peer.left()

    server = await serve(play)
    with pytest.raises(WireError) as caught:
        async with client.request("POST", server.url, {}, b"") as response:
            await response.body(100)
    assert "silent" not in caught.value.reason
    assert client.open_connections == 0


@pytest.mark.parametrize(
    "more",
    [b"garbage", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad", b"H", b"\0" * 100],
    ids=["garbage", "an answer nobody asked for", "its first byte", "zeros"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_bytes_after_an_answer_never_reach_the_next_request(
    serve: Serve, client: HttpClient, more: bytes, together: bool
) -> None:
    async def play(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*([OK + more] if together else [OK, more]))

    server = await serve(play)
    for number in range(1, 4):
        async with client.request("GET", server.url, {}) as response:
            assert await response.body(100) == b"ok"
            if not together:
                await until(lambda: client.open_connections == 0)  # the second piece has come
        assert client.open_connections == 0
        assert server.accepted == number
