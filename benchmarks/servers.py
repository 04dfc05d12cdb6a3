"""The gateway and its scripted upstream as real processes of their own on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gateway", "gateway", "upstream"]

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_AGAIN = 0.02

_LISTENING = re.compile(r"^listening on (\S+)$", re.MULTILINE)
_KEY = re.compile(r"^First API key[^:]*: (\S+)$", re.MULTILINE)
_SCENARIO = "fallback:\n  text: >-\n    {text}\n"
_TEXT = " ".join(["A plain answer of some length, as a model gives it."] * 12)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway, and the key it made."""

    url: str
    key: str
    pid: int


@contextlib.asynccontextmanager
async def upstream(directory: Path) -> AsyncIterator[str]:
    """A scripted upstream that answers everything with one text of 600 characters; its URL."""
    scenario = directory / "scenario.yaml"
    scenario.write_text(_SCENARIO.format(text=_TEXT))
    command = [sys.executable, "-m", "gateway.providers.scripted", "--scenario", str(scenario)]
    async with _server("upstream", command, directory, {}) as (said, _):
        yield said[0]


@contextlib.asynccontextmanager
async def gateway(directory: Path, workspace: Path, upstream_url: str, image: str) -> AsyncIterator[Gateway]:
    """`bulkhead serve` with the docker driver and a state directory of its own."""
    settings = {
        "BULKHEAD_DATA_DIR": str(directory / "state"),
        "BULKHEAD_SANDBOX_DRIVER": "docker",
        "BULKHEAD_SANDBOX_IMAGE": image,
        "WORKSPACE_ROOT": str(workspace),
        "ANTHROPIC_ENDPOINT": upstream_url,
        "ANTHROPIC_API_KEY": "benchmark",
        "PORT": "0",
    }
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "serve"]
    async with _server("gateway", command, directory, settings) as (said, pid):
        yield Gateway(said[0], said[1], pid)


@contextlib.asynccontextmanager
async def _server(
    name: str, command: list[str], directory: Path, settings: dict[str, str]
) -> AsyncIterator[tuple[list[str], int]]:
    """Run until told to stop: what it said (URL, then the key if it made one) and its process id."""
    kept = ("PATH", "HOME", "LANG", "DOCKER_HOST", "TMPDIR")
    environment = {key: os.environ[key] for key in kept if key in os.environ} | settings
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    try:
        async with asyncio.timeout(START_SECONDS):
            while (listening := _LISTENING.search(out.read_text())) is None:
                if process.returncode is not None:
                    raise RuntimeError(f"the {name} ended at its start: {err.read_text()[-500:]}")
                await asyncio.sleep(LOOK_AGAIN)
        key = _KEY.search(out.read_text())
        yield [listening[1], *([key[1]] if key else [])], process.pid
    finally:
        await _stop(process)


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
