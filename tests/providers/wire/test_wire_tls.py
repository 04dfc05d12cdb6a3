"""HTTPS: whom the client trusts, what it agrees on, and that an answer's end is still its own."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from wire_server import OK, Peer, WireServer, until

from gateway.providers.wire import HttpClient, WireError, WireTimeout

Serve = Callable[..., Awaitable[WireServer]]
ClientOf = Callable[..., HttpClient]


@pytest.fixture
def trusting(client_of: ClientOf, certificate: Path) -> HttpClient:
    return client_of(ca_file=certificate)


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


async def test_a_server_with_the_given_authority_is_trusted_and_its_connection_kept(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    server = await serve(always_ok, tls=server_tls)
    for size in (0, 1_000_000, 10):
        async with trusting.request("POST", server.url, {}, b"x" * size) as response:
            assert await response.body(100) == b"ok"
    assert (server.accepted, trusting.idle) == (1, 1)


async def test_an_unknown_authority_is_refused(serve: Serve, client: HttpClient, server_tls: ssl.SSLContext) -> None:
    server = await serve(always_ok, tls=server_tls)
    with pytest.raises(WireError, match="certificate that does not verify"):
        async with client.request("GET", server.url, {}):
            pytest.fail("entered")
    assert client.open_connections == 0


async def test_a_certificate_for_another_name_is_refused(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    server = await serve(always_ok, tls=server_tls, host="127.0.0.2")
    with pytest.raises(WireError, match="certificate that does not verify"):
        async with trusting.request("GET", f"https://127.0.0.2:{server.port}", {}):
            pytest.fail("entered")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_name_is_sent_and_only_http_1_is_offered(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext, host: str
) -> None:
    server_tls.set_alpn_protocols(["h2", "http/1.1"])
    names: list[str | None] = []
    agreed: list[str | None] = []
    server_tls.sni_callback = lambda _, name, __: names.append(name)

    async def play(peer: Peer) -> None:
        agreed.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await always_ok(peer)

    server = await serve(play, tls=server_tls)
    async with trusting.request("GET", f"https://{host}:{server.port}", {}) as response:
        assert await response.body(10) == b"ok"
    assert agreed == ["http/1.1"]
    assert names == (["localhost"] if host == "localhost" else [None])


async def test_an_ipv6_address_is_matched_with_the_certificate(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    server = await serve(always_ok, tls=server_tls, host="::1")
    async with trusting.request("GET", f"https://[::1]:{server.port}", {}) as response:
        assert await response.body(10) == b"ok"


async def test_a_server_that_speaks_no_tls_is_an_error(serve: Serve, trusting: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await serve(play)
    with pytest.raises(WireError, match="could not connect"):
        async with trusting.request("GET", f"https://localhost:{server.port}", {}):
            pytest.fail("entered")
    assert trusting.open_connections == 0


async def test_a_handshake_that_never_ends_is_a_timeout(serve: Serve, client_of: ClientOf, certificate: Path) -> None:
    async def play(peer: Peer) -> None:
        await peer.left()

    server, client = await serve(play), client_of(ca_file=certificate, connect=0.05)
    with pytest.raises(WireTimeout, match="no connection to"):
        async with client.request("GET", f"https://localhost:{server.port}", {}):
            pytest.fail("entered")
    assert client.open_connections == 0
    await until(lambda: server.here == 0)


async def test_a_truncated_body_is_an_error(serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n")
        if peer.number == 2:
            peer.writer.transport.abort()

    server = await serve(play, tls=server_tls)
    for _ in range(2):  # closed in order, and cut
        async with trusting.request("GET", server.url, {}) as response:
            pieces = response.chunks()
            assert await anext(pieces) == b"some"
            with pytest.raises(WireError):
                await anext(pieces)


async def test_a_body_until_close_ends_with_the_connection(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome", b" more")

    server = await serve(play, tls=server_tls)
    async with trusting.request("GET", server.url, {}) as response:
        assert await response.body(100) == b"some more"
    assert trusting.open_connections == 0


async def test_a_dead_kept_connection_costs_no_request(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await peer.request()
            peer.writer.transport.abort()
        else:
            await peer.left()

    server = await serve(play, tls=server_tls)
    for _ in range(2):
        async with trusting.request("GET", server.url, {}) as response:
            assert await response.body(10) == b"ok"
    assert server.accepted == 2


async def test_a_large_answer_comes_whole_to_a_slow_reader(
    serve: Serve, trusting: HttpClient, server_tls: ssl.SSLContext
) -> None:
    size = 6_000_000

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size)
        await peer.left()

    server = await serve(play, tls=server_tls)
    async with trusting.request("GET", server.url, {}) as response:
        total = 0
        async for piece in response.chunks():
            assert len(piece) < 2_000_000
            total += len(piece)
            for _ in range(20):
                await asyncio.sleep(0)
    assert total == size
    assert trusting.idle == 1


def test_an_authority_file_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        HttpClient(ca_file=tmp_path / "none.pem")
