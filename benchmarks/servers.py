"""The servers under test as real processes of their own on free loopback ports: upstream, gateway, floor, peer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "floor", "gateway", "listening_on", "run", "upstream"]

START_SECONDS = 90.0
STOP_SECONDS = 30.0
LOOK_AGAIN = 0.02

_LISTENING = re.compile(r"^listening on (\S+)$", re.MULTILINE)
_KEY = re.compile(r"^First API key[^:]*: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and a key that it takes."""

    url: str
    key: str
    pid: int


@contextlib.asynccontextmanager
async def upstream(directory: Path) -> AsyncIterator[Server]:
    """A lean model service (`benchmarks.forwarding.lean_upstream`)."""
    command = [sys.executable, "-m", "benchmarks.forwarding.lean_upstream"]
    async with run("upstream", command, directory, {}, _said) as server:
        yield server


@contextlib.asynccontextmanager
async def floor(directory: Path, upstream_url: str) -> AsyncIterator[Server]:
    """A bare relay in the gateway's framework (`benchmarks.forwarding.floor`)."""
    command = [sys.executable, "-m", "benchmarks.forwarding.floor", upstream_url]
    async with run("floor", command, directory, {}, _said) as server:
        yield server


@contextlib.asynccontextmanager
async def gateway(
    directory: Path, workspace: Path, upstream_url: str, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """`bulkhead serve` with a state directory of its own, authentication and audit on as always. Its sandboxes
    would be bubblewrap's, which start with the gateway; no request of these rows opens one."""
    environment = {
        "BULKHEAD_DATA_DIR": str(directory / "state"),
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "WORKSPACE_ROOT": str(workspace),
        "ANTHROPIC_ENDPOINT": upstream_url,
        "ANTHROPIC_API_KEY": "benchmark",
        "PORT": "0",
        **(settings or {}),
    }
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "serve"]
    async with run("gateway", command, directory, environment, _said) as server:
        yield server


@contextlib.asynccontextmanager
async def run(
    name: str,
    command: list[str],
    directory: Path,
    settings: Mapping[str, str],
    ready: Callable[[str], tuple[str, str] | None],
) -> AsyncIterator[Server]:
    """A process until told to stop. `ready` looks at what it has said so far: URL and key once it listens.

    Raises RuntimeError when it ends at its start or does not listen within `START_SECONDS`.
    """
    kept = ("PATH", "HOME", "LANG", "DOCKER_HOST", "TMPDIR")
    environment = {key: os.environ[key] for key in kept if key in os.environ} | dict(settings)
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                while (found := ready(out.read_text())) is None:
                    if process.returncode is not None:
                        raise RuntimeError(f"the {name} ended at its start: {err.read_text()[-500:]}")
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError as error:
            raise RuntimeError(f"the {name} did not start in time: {err.read_text()[-500:]}") from error
        yield Server(*found, process.pid)
    finally:
        await _stop(process)


def listening_on(port: int) -> bool:
    """Whether somebody takes connections on that port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _said(output: str) -> tuple[str, str] | None:
    listening = _LISTENING.search(output)
    if listening is None:
        return None
    key = _KEY.search(output)
    return listening[1], key[1] if key else "none"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
