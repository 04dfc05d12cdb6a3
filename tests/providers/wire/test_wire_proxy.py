"""The site's HTTP proxy: tunnels, whole URLs, its credentials, and who is reached without it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from wire_server import OK, Peer, Request, WireServer, until

from gateway.providers.wire import HttpClient, WireError, WireTimeout
from gateway.providers.wire.proxy import Proxy, bypassed
from gateway.providers.wire.target import target

Serve = Callable[..., Awaitable[WireServer]]
ClientOf = Callable[..., HttpClient]


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


class Tunnels:
    """A CONNECT proxy. `answer` is what it says before it joins the two sides; `asked` what it was asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[Request] = []

    async def __call__(self, peer: Peer) -> None:
        request = await peer.request()
        self.asked.append(request)
        method, where, _ = request.line.split(" ")
        assert method == "CONNECT"
        await peer.send(self.answer[:20], self.answer[20:])
        if b" 200 " not in self.answer:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", int(where.rpartition(":")[2]))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(peer.reader, writer))
                group.create_task(_copy(reader, peer.writer))
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_https_goes_through_a_tunnel_that_is_kept(
    serve: Serve, client_of: ClientOf, certificate: Path, server_tls: ssl.SSLContext
) -> None:
    tunnels = Tunnels()
    server, proxy = await serve(always_ok, tls=server_tls), await serve(tunnels)
    client = client_of(ca_file=certificate, proxy=f"http://us%40er:p%3Aw@127.0.0.1:{proxy.port}")
    for size in (10, 500_000):
        async with client.request("POST", server.url, {"x-api-key": "secret"}, b"x" * size) as response:
            assert await response.body(10) == b"ok"
    (request,) = tunnels.asked
    assert request.line == f"CONNECT localhost:{server.port} HTTP/1.1"
    assert request.header("host") == f"localhost:{server.port}"
    assert request.header("proxy-authorization") == "Basic dXNAZXI6cDp3"
    assert request.header("x-api-key") is None
    assert (server.accepted, client.idle) == (1, 1)
    await client.aclose()
    await until(lambda: proxy.here == 0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407: it wants other credentials"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "status 403: its rules"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502: it cannot reach the host"),
        (b"HTTP/1.1 418 Teapot\r\n\r\n", "status 418$"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2", "closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, "too large a head"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "more than its answer"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_an_error_that_says_why(
    serve: Serve, client_of: ClientOf, certificate: Path, answer: bytes, said: str
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    proxy = await serve(play)
    client = client_of(ca_file=certificate, proxy=f"http://user:hunter2@localhost:{proxy.port}")
    with pytest.raises(WireError, match=said) as caught:
        async with client.request("GET", "https://upstream.test/", {}):
            pytest.fail("entered")
    assert "hunter2" not in caught.value.reason
    assert client.open_connections == 0
    await until(lambda: proxy.here == 0)


async def test_the_host_behind_a_tunnel_must_prove_itself(
    serve: Serve, client_of: ClientOf, server_tls: ssl.SSLContext
) -> None:
    server, proxy = await serve(always_ok, tls=server_tls), await serve(Tunnels())
    client = client_of(proxy=f"http://localhost:{proxy.port}")
    with pytest.raises(WireError, match="certificate that does not verify"):
        async with client.request("GET", server.url, {}):
            pytest.fail("entered")
    assert client.open_connections == 0
    await until(lambda: proxy.here == 0)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["no answer", "no handshake"])
async def test_a_tunnel_that_does_not_open_in_time_is_a_timeout(
    serve: Serve, client_of: ClientOf, certificate: Path, answer: bytes
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.left()

    proxy = await serve(play)
    client = client_of(ca_file=certificate, proxy=f"http://localhost:{proxy.port}", connect=0.05)
    with pytest.raises(WireTimeout):
        async with client.request("GET", "https://upstream.test/", {}):
            pytest.fail("entered")
    assert client.open_connections == 0
    await until(lambda: proxy.here == 0)


async def test_a_tunnel_cancelled_at_any_moment_leaves_nothing(
    serve: Serve, client_of: ClientOf, certificate: Path, server_tls: ssl.SSLContext
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK[:-1])
        await peer.left()

    server, proxy = await serve(play, tls=server_tls), await serve(Tunnels())
    client = client_of(ca_file=certificate, proxy=f"http://localhost:{proxy.port}")

    async def ask() -> None:
        async with client.request("GET", server.url, {}):
            await asyncio.Event().wait()

    for moment in range(60):
        asking = asyncio.create_task(ask())
        for _ in range(moment):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert client.open_connections == 0
    await until(lambda: proxy.here == 0)


async def test_plain_http_asks_the_proxy_for_the_whole_url(serve: Serve, client_of: ClientOf) -> None:
    requests: list[Request] = []

    async def play(peer: Peer) -> None:
        while True:
            requests.append(await peer.request())
            await peer.send(OK)

    proxy = await serve(play)
    client = client_of(proxy=f"http://user:pw@localhost:{proxy.port}")
    async with client.request("POST", "http://upstream.test:8000/v1?x=1", {"a": "b"}, b"body") as response:
        assert await response.body(10) == b"ok"
    (request,) = requests
    assert request.line == "POST http://upstream.test:8000/v1?x=1 HTTP/1.1"
    assert request.header("host") == "upstream.test:8000"
    assert request.header("proxy-authorization") == "Basic dXNlcjpwdw=="
    assert request.body == b"body"


async def test_a_named_host_is_reached_without_the_proxy(serve: Serve, client_of: ClientOf) -> None:
    requests: list[Request] = []

    async def play(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(OK)

    server = await serve(play)
    client = client_of(proxy="http://user:pw@localhost:1", no_proxy="other, localhost")
    async with client.request("GET", server.url, {}) as response:
        assert await response.body(10) == b"ok"
    assert requests[0].line == "GET / HTTP/1.1"
    assert requests[0].header("proxy-authorization") is None


async def test_a_proxy_that_is_not_there_is_named_without_its_password(client_of: ClientOf) -> None:
    client = client_of(proxy="http://user:hunter2@localhost:1")
    for url in ("http://upstream.test/", "https://upstream.test/"):
        with pytest.raises(WireError, match="could not connect to the proxy localhost:1") as caught:
            async with client.request("GET", url, {}):
                pytest.fail("entered")
        assert "hunter2" not in caught.value.reason
    assert "hunter2" not in repr(Proxy.of("http://user:hunter2@localhost:1"))


@pytest.mark.parametrize("url", ["https://proxy:1", "proxy:8080", "http://", "http://proxy:port", "socks5://proxy:1"])
def test_a_proxy_url_that_makes_no_sense_is_an_error_at_the_start(url: str) -> None:
    with pytest.raises(WireError):
        HttpClient(proxy=url)


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://a.test", False),
        ("*", "http://a.test", True),
        ("a.test", "http://a.test", True),
        (" A.Test ,b", "http://a.test", True),
        ("a.test", "http://b.a.test", False),
        ("a.test", "http://xa.test", False),
        (".a.test", "http://b.a.test", True),
        (".a.test", "http://c.b.a.test", True),
        (".a.test", "http://a.test", False),
        (".a.test", "http://xa.test", False),
        ("a.test:8080", "http://a.test:8080", True),
        ("a.test:8080", "http://a.test", False),
        ("a.test:443", "https://a.test", True),
        (".a.test:80", "http://b.a.test", True),
        ("::1", "http://[::1]:8080", True),
        ("[::1]", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("[::1]:80", "http://[::1]:8080", False),
        ("127.0.0.1,localhost", "http://localhost:5", True),
        (",,", "http://a.test", False),
    ],
)
def test_no_proxy_names_hosts_suffixes_ports_and_all(no_proxy: str, url: str, direct: bool) -> None:
    assert bypassed(no_proxy, target(url)) is direct
