"""The demo's processes: started in sessions of their own, told when they listen, ended and looked for after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.demo.failure import DemoFailed
from gateway.settings import CONFIG_VARIABLE, Settings, variable_of

START_SECONDS = 60.0
"""For a process to listen. The gateway opens a trial sandbox before it does."""

STOP_SECONDS = 40.0
"""For a process to end after SIGTERM; the gateway removes its sandboxes meanwhile."""

_LISTENING = "listening on "
_LOG_LINES = 15


class Alive(NamedTuple):
    """A process of this host; its start time tells it from a later one with the same number."""

    pid: int
    started: int
    name: str


class Program:
    """A running process of the demo; `url` is where it listens."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.url = ""
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def complaints(self) -> list[str]:
        """The last lines of what it wrote to stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]

    async def until_listening(self) -> None:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                while line := (await self._process.stdout.readline()).decode("utf-8", "replace"):
                    if line.startswith(_LISTENING):
                        self.url = line.removeprefix(_LISTENING).strip()
                        return
        except TimeoutError:
            raise DemoFailed(f"The {self.name} did not listen within {START_SECONDS:g} s.") from None
        text = "\n".join(self.complaints())
        raise DemoFailed(f"The {self.name} ended at its start (its full log: --keep).\n{text}")

    async def stop(self) -> None:
        """Ask it to end, wait, and insist. Twice is once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


@contextlib.asynccontextmanager
async def running(
    name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> AsyncIterator[Program]:
    """`python -m module arguments` while the block runs, listening when it begins. Raises `DemoFailed`."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C in the terminal is the demo's to handle
        )
    program = Program(name, process, log)
    try:
        await program.until_listening()
        yield program
    finally:
        await program.stop()


async def output_of(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """Standard output of `python -m module arguments`. Raises `DemoFailed` when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            output, errors = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise DemoFailed(f"{module} {arguments[0]} failed: {errors.decode('utf-8', 'replace').strip()}")
    return output


def clean_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment for the demo's processes: no setting but `own`, no proxy before loopback."""
    settings = {variable_of(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    kept = {name: value for name, value in os.environ.items() if name not in settings or name == "DOCKER_HOST"}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **own}


def descendants(pid: int) -> frozenset[Alive]:
    """The process and everything it started that still runs, sandboxes of the embedded driver included."""
    parents = dict(_all_processes())
    found = {alive for alive in parents if alive.pid == pid}
    numbers = {pid}
    grown = True
    while grown:
        more = {alive for alive, parent in parents.items() if parent in numbers} - found
        found |= more
        numbers |= {alive.pid for alive in more}
        grown = bool(more)
    return frozenset(found)


def still_running(processes: Collection[Alive]) -> list[Alive]:
    """Those of `processes` that have not ended."""
    now = {(alive.pid, alive.started) for alive, _ in _all_processes()}
    return [alive for alive in processes if (alive.pid, alive.started) in now]


def _all_processes() -> list[tuple[Alive, int]]:
    """(process, parent's number), without those that have ended and only wait to be noticed."""
    found: list[tuple[Alive, int]] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended while we looked
        name, _, rest = line.partition("(")[2].rpartition(")")
        fields = rest.split()
        if fields[0] not in ("Z", "X"):
            found.append((Alive(int(entry.name), int(fields[19]), name), int(fields[1])))
    return found
