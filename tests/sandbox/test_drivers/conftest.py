"""Both drivers behind one fixture: every test that takes `driver` runs on each."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from gateway.broker.client import BrokerClient
from gateway.broker.process import BrokerProcess
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.channel import Channel
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import Driver, Sandbox, SandboxSpec, Workspace
from gateway.sandbox.toolhost import Toolhost

TOOLHOST = Path(__file__).resolve().parents[3] / "sandbox-images/toolhost"
OWNER = 1234
"""Somebody who is not root, to own workspaces where the tests run as root."""


@dataclass(frozen=True)
class Box:
    """An open sandbox with its toolhost."""

    sandbox: Sandbox
    channel: Channel
    toolhost: Toolhost

    async def run(self, *argv: str, cwd: str | None = None) -> tuple[int | None, str]:
        """Exit code (None: killed by a signal) and both outputs of a program."""
        process = await self.toolhost.spawn(list(argv), cwd=cwd or self.sandbox.workspace)
        output = b"".join([data async for _, data in process.output()])
        return (await process.wait()).code, output.decode("utf-8", "replace")

    async def python(self, program: str) -> tuple[int | None, str]:
        return await self.run("python3", "-c", program)


OpenBox = Callable[..., Awaitable[Box]]


@pytest.fixture
def projects() -> Iterator[Path]:
    """A directory everyone may pass through, below which sources are allowed."""
    place = Path(tempfile.mkdtemp(prefix="bulkhead-drivers-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def project(projects: Path) -> Path:
    """A workspace that belongs to somebody, with one file in it."""
    place = projects / "project"
    place.mkdir()
    (place / "README").write_text("of the host\n")
    give_away(place)
    return place


def give_away(place: Path) -> None:
    """Make everything here the property of somebody who is not root."""
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.lchown(path, OWNER, OWNER)


@pytest.fixture
def gateway_id() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
async def broker(projects: Path, gateway_id: str) -> AsyncIterator[BrokerClient]:
    """A broker process; at the end nothing that carries its label may be left."""
    options = ["--toolhost", str(TOOLHOST)]
    process = BrokerProcess(projects / "broker.sock", gateway=gateway_id, roots=[projects], options=options)
    client = await process.start()
    try:
        yield client
        assert await client.reap([]) == [], "a sandbox was left behind"
        assert leftovers(gateway_id) == []
    finally:
        await client.reap([])
        await process.stop()


def leftovers(gateway_id: str) -> list[str]:
    """Names of every container and volume of a gateway, asked of the engine itself."""
    engine = docker.from_env()
    try:
        containers = engine.containers.list(all=True, filters={"label": f"bulkhead={gateway_id}"})
        volumes = engine.volumes.list(filters={"label": f"bulkhead={gateway_id}"})
        return [str(item.name) for item in (*containers, *volumes)]
    finally:
        engine.close()


@pytest.fixture
async def docker_driver(broker: BrokerClient) -> DockerDriver:
    driver = DockerDriver(broker)
    await driver.start()
    return driver


@pytest.fixture
async def bubblewrap_driver(projects: Path) -> BubblewrapDriver:
    driver = BubblewrapDriver([projects], TOOLHOST)
    await driver.start()
    return driver


@pytest.fixture(params=["bubblewrap", pytest.param("docker", marks=pytest.mark.engine)])
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.getfixturevalue(f"{request.param}_driver")
    return found


@asynccontextmanager
async def opened(driver: Driver, workspace: Workspace, session: str = "a-session") -> AsyncIterator[Box]:
    """A sandbox for the length of a block."""
    sandbox = await driver.open(SandboxSpec(session, workspace))
    channel = Channel(sandbox.attach)
    try:
        await channel.start(30)
        yield Box(sandbox, channel, Toolhost(channel))
    finally:
        await channel.aclose()
        await sandbox.close()


@pytest.fixture
async def open_box() -> AsyncIterator[OpenBox]:
    """Opens sandboxes that are closed after the test."""
    async with AsyncExitStack() as held:

        async def open_one(driver: Driver, workspace: Workspace, session: str = "a-session") -> Box:
            return await held.enter_async_context(opened(driver, workspace, session))

        yield open_one
