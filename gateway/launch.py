"""What a gateway needs beside it: its own broker process where no broker is given, and the driver over it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import structlog

from gateway.broker.client import BrokerClient
from gateway.images.recipes import source_tree
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import Driver
from gateway.sandbox.errors import SandboxError, SandboxUnavailable
from gateway.settings import Settings

log = structlog.get_logger(__name__)

START_SECONDS = 20.0
"""How long a fresh broker may take to listen."""


def gateway_id(settings: Settings) -> str:
    """On the label of everything this gateway creates. Stable for one data directory and port, so that the
    next start finds what a killed one left; of one kind for every gateway on a free port."""
    return "gw-" + sha256(f"{settings.data_dir}:{settings.port}".encode()).hexdigest()[:12]


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
    with tempfile.TemporaryDirectory(prefix="bulkhead-broker-") as directory:
        path = Path(directory) / "broker.sock"
        async with _broker_process(settings, path), _started(DockerDriver(BrokerClient(path))) as driver:
            yield driver


@contextlib.asynccontextmanager
async def _started(driver: Driver) -> AsyncIterator[Driver]:
    await driver.start()
    try:
        yield driver
    finally:
        await driver.aclose()


@contextlib.asynccontextmanager
async def _broker_process(settings: Settings, path: Path) -> AsyncIterator[None]:
    """A broker that ends with this process: it watches its stdin, and removes what is left when it closes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.broker",
        "--socket",
        str(path),
        "--gateway",
        gateway_id(settings),
        "--allow-root",
        str(settings.workspace_root),
        "--image",
        settings.sandbox_image,
        "--until-eof",
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        await _until_listening(process, path)
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_listening(process: asyncio.subprocess.Process, path: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not path.exists():
        if process.returncode is not None:
            raise SandboxUnavailable("broker", f"the broker ended at its start with code {process.returncode}")
        if asyncio.get_running_loop().time() > deadline:
            raise SandboxUnavailable("broker", f"the broker did not listen within {START_SECONDS:g} s")
        await asyncio.sleep(0.02)
