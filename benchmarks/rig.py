"""What the measurements stand on: a directory, a broker with its driver, sandboxes, the engine by hand.

Everything it makes carries one label and is gone when `rig()` ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import Engine, EngineError
from gateway.broker.engine import engine_socket
from gateway.broker.process import BrokerProcess
from gateway.broker.profile import Profile
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import Workspace
from gateway.sandbox.session import Session, SessionKey, SessionObserver
from gateway.sandbox.sessions import Sessions

__all__ = ["IMAGE", "Rig", "rig"]

IMAGE = Profile().image
SANDBOX_UID = 10001
"""Who owns the workspace when we are root: a bound workspace of root's is refused."""


@dataclass(frozen=True, slots=True)
class Rig:
    """Handed to every measurement. `say` prints a line of progress. `rows`: names of those that are asked for."""

    directory: Path
    quick: bool
    say: Callable[[str], None]
    label: str
    engine: Engine
    _broker: BrokerProcess
    rows: Collection[str] = ()

    def wants(self, *names: str) -> bool:
        """Whether any of these rows is asked for; a measurement need not take what nobody does."""
        return any(name in self.rows for name in names)

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    @property
    def labels(self) -> dict[str, str]:
        """For containers of the other side."""
        return {"bulkhead": self.label}

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    @contextlib.asynccontextmanager
    async def sessions(self, most: int = 16) -> AsyncIterator[Sessions]:
        """A registry of sessions over the docker driver and a broker process, as the gateway has one."""
        driver = DockerDriver(await self._broker.start())
        opened = Sessions(driver, SessionObserver(), idle_seconds=3600, max_sessions=most)
        try:
            await driver.start()
            yield opened
        finally:
            try:
                await opened.aclose()
                await driver.reap(())
            finally:
                await self._broker.stop()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One open session on the workspace."""
        async with self.sessions() as opened:
            yield await self.open(opened)

    async def open(self, sessions: Sessions) -> Session:
        source = str(self.workspace)
        key = SessionKey("benchmark", secrets.token_hex(4))
        return await sessions.get(key, Workspace("bind", source, source))

    async def container_of(self, session: Session) -> str:
        """Its id, for the engine."""
        (container,) = await self.engine.labelled(f"bulkhead.session={session.id}")
        return container


@contextlib.asynccontextmanager
async def rig(
    *, quick: bool, engine_needed: bool, say: Callable[[str], None], rows: Collection[str] = ()
) -> AsyncIterator[Rig]:
    """Raises `Missing` when the engine or its image is."""
    label = f"benchmark-{os.getpid()}"
    engine = Engine(engine_socket())
    try:
        if engine_needed:
            await engine.require(IMAGE)
        directory = Path(tempfile.mkdtemp(prefix="bulkhead-benchmark-"))
        try:
            workspace = directory / "workspace"
            workspace.mkdir()
            if os.geteuid() == 0:
                directory.chmod(0o755)
                os.chown(workspace, SANDBOX_UID, SANDBOX_UID)
            broker = BrokerProcess(
                directory / "broker.sock",
                gateway=label,
                roots=[directory],
                options=["--image", IMAGE],
                log=directory / "broker.log",
            )
            yield Rig(directory, quick, say, label, engine, broker, rows)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            if engine_needed:
                await _remove_all(engine, f"bulkhead={label}")
    finally:
        await engine.aclose()


async def _remove_all(engine: Engine, label: str) -> None:
    for container in await engine.labelled(label):
        with contextlib.suppress(EngineError):
            await engine.remove(container)
