"""Both drivers behind one fixture: every test that takes `driver` runs on each."""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from driver_boxes import TOOLHOST, Box, OpenBox, give_away, leftovers, opened

from gateway.broker.client import BrokerClient
from gateway.broker.process import BrokerProcess
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import Driver, Workspace


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


@pytest.fixture
async def open_box() -> AsyncIterator[OpenBox]:
    """Opens sandboxes that are closed after the test."""
    async with AsyncExitStack() as held:

        async def open_one(driver: Driver, workspace: Workspace, session: str = "a-session") -> Box:
            return await held.enter_async_context(opened(driver, workspace, session))

        yield open_one
