import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from wire_server import Play, WireServer, turns

from gateway.providers.wire import HttpClient


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The client stands on the loop's transports, which differ: every test here runs on both."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[WireServer]]]:
    """Starts servers that run a play on each connection; they end with the test."""
    running: list[WireServer] = []

    async def start(play: Play, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> WireServer:
        running.append(await WireServer(play, tls).start(host))
        return running[-1]

    yield start
    for server in running:
        await server.stop()


@pytest.fixture
async def client_of(serve: object) -> AsyncIterator[Callable[..., HttpClient]]:
    """Makes clients with short bounds; after the test nothing of them may be left."""
    made: list[HttpClient] = []

    def make(**options: Any) -> HttpClient:
        made.append(HttpClient(**{"connect": 5.0, "silence": 5.0, **options}))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
        assert (client.open_connections, client.idle) == (0, 0)
    await turns()


@pytest.fixture
def client(client_of: Callable[..., HttpClient]) -> HttpClient:
    return client_of()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate for localhost and the loopback addresses, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    pem = folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=wire test", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return pem


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
