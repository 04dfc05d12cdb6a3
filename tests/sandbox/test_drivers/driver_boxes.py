"""Open sandboxes with their toolhosts, and what a gateway left on the engine."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from gateway.sandbox.channel import Channel
from gateway.sandbox.driver import Driver, Sandbox, SandboxSpec, Workspace
from gateway.sandbox.toolhost import Toolhost

__all__ = ["TOOLHOST", "Box", "OpenBox", "give_away", "leftovers", "opened"]

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


def give_away(place: Path) -> None:
    """Make everything here the property of somebody who is not root."""
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.lchown(path, OWNER, OWNER)


def leftovers(gateway_id: str) -> list[str]:
    """Names of every container and volume of a gateway, asked of the engine itself."""
    engine = docker.from_env()
    try:
        containers = engine.containers.list(all=True, ignore_removed=True, filters={"label": f"bulkhead={gateway_id}"})
        volumes = engine.volumes.list(filters={"label": f"bulkhead={gateway_id}"})
        return [str(item.attrs["Name"]) for item in (*containers, *volumes)]
    finally:
        engine.close()


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
