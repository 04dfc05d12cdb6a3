"""One request and its answer: what is sent, what is read, what leaving early does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from wire_server import OK, Peer, Request, WireServer, turns, until

from gateway.providers.wire import HttpClient, WireError, WireTimeout

Serve = Callable[..., Awaitable[WireServer]]
ClientOf = Callable[..., HttpClient]


def answers(*answers: bytes, requests: list[Request] | None = None) -> Callable[[Peer], Awaitable[None]]:
    """Answers every request on every connection with the next of the answers, the last one for ever."""
    left = list(answers)

    async def play(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if requests is not None:
                requests.append(request)
            await peer.send(left.pop(0) if len(left) > 1 else left[0])

    return play


async def test_a_request_reaches_the_server_as_given_and_its_answer_comes_back(
    serve: Serve, client: HttpClient
) -> None:
    requests: list[Request] = []
    reply = b"HTTP/1.1 201 Created\r\nX-One: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2 \r\ncontent-length: 2\r\n\r\nhi"
    server = await serve(answers(reply, requests=requests))
    async with client.request("POST", f"{server.url}/v1/messages?beta=true#x", {"x-api-key": "k"}, b"body") as response:
        assert response.status == 201
        assert response.headers["x-one"] == "1"
        assert response.headers["set-cookie"] == "a=1, b=2"
        assert [piece async for piece in response.chunks()] == [b"hi"]
    (request,) = requests
    assert request.line == "POST /v1/messages?beta=true HTTP/1.1"
    assert request.header("host") == f"localhost:{server.port}"
    assert request.header("x-api-key") == "k"
    assert request.body == b"body"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 5_000_000])
async def test_a_request_body_of_any_size_arrives_whole(serve: Serve, client: HttpClient, size: int) -> None:
    requests: list[Request] = []
    server = await serve(answers(OK, requests=requests))
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with client.request("POST", server.url, {}, body) as response:
        assert await response.body(100) == b"ok"
    assert requests[0].body == body
    assert client.idle == 1


async def test_the_first_piece_can_be_taken_before_the_rest_has_been_sent(serve: Serve, client: HttpClient) -> None:
    seen = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await seen.wait()
        await peer.send(b"4\r\nrest\r\n0\r\n\r\n")
        await peer.left()

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"") as response:
        pieces: AsyncIterator[bytes] = response.chunks()
        assert await anext(pieces) == b"first"
        seen.set()
        assert [piece async for piece in pieces] == [b"rest"]
    assert client.idle == 1


async def test_a_body_is_read_once(serve: Serve, client: HttpClient) -> None:
    server = await serve(answers(OK))
    async with client.request("GET", server.url, {}) as response:
        response.chunks()
        with pytest.raises(RuntimeError):
            response.chunks()


async def test_reading_after_leaving_is_an_error(serve: Serve, client: HttpClient) -> None:
    server = await serve(answers(OK))
    async with client.request("GET", server.url, {}) as response:
        pieces = response.chunks()
    with pytest.raises(WireError):
        await anext(pieces)


async def test_another_reader_learns_that_the_response_was_left(serve: Serve, client: HttpClient) -> None:
    server = await serve(answers(OK[:-1]))
    async with client.request("GET", server.url, {}) as response:
        pieces = response.chunks()
        assert await anext(pieces) == b"o"
        reading = asyncio.ensure_future(anext(pieces))
        await turns()
    async with asyncio.timeout(5):
        with pytest.raises(WireError, match="left"):
            await reading


async def test_leaving_before_the_end_closes_the_connection(serve: Serve, client: HttpClient) -> None:
    left = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await peer.left()
        left.set()

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"") as response:
        await anext(response.chunks())
    assert client.open_connections == 0
    await asyncio.wait_for(left.wait(), 5)


async def test_leaving_a_whole_answer_unread_keeps_the_connection_and_not_the_bytes(
    serve: Serve, client: HttpClient
) -> None:
    server = await serve(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold", OK))
    async with client.request("GET", server.url, {}):
        pass
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(10) == b"ok"
    assert server.accepted == 1


async def test_a_body_is_cut_at_its_limit_and_the_connection_dropped(serve: Serve, client: HttpClient) -> None:
    server = await serve(answers(b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n123456789"))
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(4) == b"1234"
    assert client.open_connections == 0
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(9) == b"123456789"
    assert client.idle == 1


async def test_interim_answers_are_skipped(serve: Serve, client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    server = await serve(answers(interim + OK))
    for _ in range(2):
        async with client.request("POST", server.url, {}, b"x") as response:
            assert (response.status, dict(response.headers)) == (200, {"content-length": "2"})
            assert await response.body(10) == b"ok"
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_is_whole_with_its_head(
    serve: Serve, client: HttpClient, method: str, head: bytes
) -> None:
    server = await serve(answers(head))
    for _ in range(2):
        async with client.request(method, server.url, {}) as response:
            assert await response.body(10) == b""
    assert server.accepted == 1


async def test_an_answer_that_comes_before_the_request_is_sent_is_read_and_its_connection_dropped(
    serve: Serve, client: HttpClient
) -> None:
    reply = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge"

    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply)
        gone.set()
        await never.wait()

    gone, never = asyncio.Event(), asyncio.Event()
    server = await serve(play)
    async with client.request("POST", server.url, {}, b"x" * 20_000_000) as response:
        assert response.status == 413
        assert await response.body(100) == b"large"
    assert client.open_connections == 0


async def test_a_reset_after_an_early_answer_does_not_hide_it(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge")
        peer.reset()

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"x" * 20_000_000) as response:
        await until(lambda: client.open_connections == 0)
        assert response.status == 413
        assert await response.body(100) == b"large"


async def test_silence_before_the_head_is_a_timeout(serve: Serve, client_of: ClientOf) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.left()

    server = await serve(play)
    client = client_of(silence=0.05)
    with pytest.raises(WireTimeout, match="silent"):
        async with client.request("POST", server.url, {}, b""):
            pytest.fail("entered")
    assert client.open_connections == 0


async def test_silence_inside_a_body_is_a_timeout_after_what_has_come(serve: Serve, client_of: ClientOf) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome")
        await peer.left()

    server = await serve(play)
    client = client_of(silence=0.05)
    async with client.request("POST", server.url, {}, b"") as response:
        pieces = response.chunks()
        assert await anext(pieces) == b"some"
        with pytest.raises(WireTimeout):
            await anext(pieces)
        assert client.open_connections == 0


async def test_a_slow_reader_is_not_taken_for_a_silent_upstream(serve: Serve, client_of: ClientOf) -> None:
    """The upstream is held back while nobody reads, so its silence is ours."""
    size = 8_000_000

    async def play(peer: Peer) -> None:
        if "/large" in (await peer.request()).line:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size)
        await peer.left()

    server = await serve(play)
    client = client_of(silence=0.05)
    async with client.request("POST", f"{server.url}/large", {}, b"") as response:
        with pytest.raises(WireTimeout):  # the client's clock has gone round meanwhile
            async with client.request("POST", f"{server.url}/silent", {}, b""):
                pytest.fail("entered")
        total = 0
        async for piece in response.chunks():
            assert len(piece) < 2_000_000
            total += len(piece)
    assert total == size


async def test_a_reader_that_stops_holds_the_upstream_back(serve: Serve, client: HttpClient) -> None:
    sent = 0

    async def play(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536

    server = await serve(play)
    async with client.request("POST", server.url, {}, b"") as response:
        pieces = response.chunks()
        await anext(pieces)
        before = -1
        while before != sent:  # until a long while brings no more
            assert sent < 40_000_000
            before = sent
            await turns(200)
        held = sent
        taken = 0
        while taken < held:
            taken += len(await anext(pieces))
        await until(lambda: sent > held)


@pytest.mark.parametrize("where", ["name", "value", "nul", "url", "method"])
async def test_nothing_the_caller_gives_becomes_a_line_of_its_own(client: HttpClient, where: str) -> None:
    bad = {
        "name": ("POST", "http://localhost:9/", {"a: b\r\nx": "y"}),
        "value": ("POST", "http://localhost:9/", {"a": "b\r\nx: y"}),
        "nul": ("POST", "http://localhost:9/", {"a": "b\0"}),
        "url": ("POST", "http://localhost:9/ HTTP/1.1\r\nx: y", {}),
        "method": ("POST /x HTTP/1.1\r\nx:", "http://localhost:9/", {}),
    }
    method, url, headers = bad[where]
    with pytest.raises(WireError):
        client.request(method, url, headers)
