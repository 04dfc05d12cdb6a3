"""What a gateway needs beside it: its own broker process where no broker is given, and the driver over it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import structlog

from gateway.broker.client import BrokerClient
from gateway.broker.errors import BrokerUnavailable
from gateway.broker.process import BrokerProcess
from gateway.images.recipes import source_tree
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import Driver
from gateway.sandbox.errors import SandboxError, SandboxUnavailable
from gateway.settings import Settings

log = structlog.get_logger(__name__)


def gateway_id(settings: Settings, place: int = 0) -> str:
    """On the label of everything this gateway creates. Stable for one data directory and port, so that the
    next start finds what a killed one left. `place` tells apart gateways on free ports that run at once."""
    port = f"{settings.port}+{place}" if place else settings.port
    return "gw-" + sha256(f"{settings.data_dir}:{port}".encode()).hexdigest()[:12]


@contextlib.contextmanager
def own_gateway_id(settings: Settings) -> Iterator[str]:
    """An id that no other running gateway has. On free ports it is the first whose lock nobody holds: a
    start removes what carries its id, and must not take it from a neighbour on the same data directory."""
    if settings.port:
        yield gateway_id(settings)
        return
    for place in itertools.count():
        lock = os.open(settings.data_dir / f"free-port-{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _taken(lock):
                yield gateway_id(settings, place)
                return
        finally:
            os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def driver_for(settings: Settings) -> AsyncIterator[Driver]:
    """The configured driver, proven to work. Raises `SandboxUnavailable`."""
    if settings.sandbox_driver == "bubblewrap":
        async with _started(_bubblewrap(settings)) as driver:
            yield driver
        return
    async with contextlib.AsyncExitStack() as stack:
        try:
            driver = await stack.enter_async_context(_docker(settings))
        except SandboxError as error:
            if settings.sandbox_driver == "docker" or settings.broker_socket is not None:
                raise
            log.warning("docker_unavailable", reason=str(error), fallback="bubblewrap")
            driver = await stack.enter_async_context(_started(_bubblewrap(settings)))
        yield driver


def _bubblewrap(settings: Settings) -> Driver:
    return BubblewrapDriver([settings.workspace_root], source_tree().images / "toolhost")


@contextlib.asynccontextmanager
async def _docker(settings: Settings) -> AsyncIterator[Driver]:
    if settings.broker_socket is not None:
        async with _started(DockerDriver(BrokerClient(settings.broker_socket))) as driver:
            yield driver
        return
    with tempfile.TemporaryDirectory(prefix="bulkhead-broker-") as directory, own_gateway_id(settings) as identity:
        broker = BrokerProcess(
            Path(directory) / "broker.sock",
            gateway=identity,
            roots=[settings.workspace_root],
            options=["--image", settings.sandbox_image, "--engine", settings.docker_host],
            log=settings.data_dir / "broker.log",
        )
        try:
            client = await broker.start()
        except BrokerUnavailable as error:
            raise SandboxUnavailable("broker", f"{error} (see {settings.data_dir / 'broker.log'})") from error
        try:
            async with _started(DockerDriver(client)) as driver:
                yield driver
        finally:
            await broker.stop()


@contextlib.asynccontextmanager
async def _started(driver: Driver) -> AsyncIterator[Driver]:
    await driver.start()
    try:
        yield driver
    finally:
        await driver.aclose()
