"""Real toolhosts for the tests: a plain child process, and one that is PID 1 of a bubblewrap sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.sandbox.channel import Channel
from gateway.sandbox.errors import SandboxError
from gateway.sandbox.stream import ByteStream, PipeStream
from gateway.sandbox.toolhost import Process, Toolhost

TOOLHOST = Path(__file__).resolve().parents[2] / "sandbox-images" / "toolhost"
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
OUTER_UID = 10777
"""Of the jail outside of it; nobody else's, because the process limit counts by user."""
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"

Wrap = Callable[[ByteStream], ByteStream]


class Running:
    """A toolhost process and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, root: Path) -> None:
        self.process = process
        self.channel = channel
        self.host = Toolhost(channel)
        self.root = root

    def path(self, name: str) -> str:
        return str(self.root / name)

    async def shell(self, script: str, **options: Any) -> tuple[int | None, bytes, bytes]:
        """(exit code, standard output, standard error) of a shell script in the root."""
        process = await self.start("sh", "-c", script, **options)
        return await collect(process)

    async def start(self, *argv: str, **options: Any) -> Process:
        return await self.host.spawn(argv, cwd=str(self.root), **options)

    async def stderr(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.read(), 10)).decode()


async def collect(process: Process) -> tuple[int | None, bytes, bytes]:
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    async for fd, chunk in process.output():
        parts[fd].append(chunk)
    return (await process.wait()).code, b"".join(parts[1]), b"".join(parts[2])


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    """Return once the condition holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def launched(
    command: Sequence[str], root: Path, *, wrap: Wrap | None = None, attachable: bool = False
) -> AsyncIterator[Running]:
    """Run a toolhost; with `attachable` a broken stream may be attached again (the pipes outlive it)."""
    stdin, to_host = os.pipe()
    from_host, stdout = os.pipe()
    environment = {
        "PATH": SEARCH_PATH,
        "LANG": "C.UTF-8",
        "BULKHEAD_TOOLHOST": json.dumps({"roots": [str(root)], "workspace": str(root), "home": str(root)}),
    }
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE, env=environment
    )
    os.close(stdin)
    os.close(stdout)

    async def attach() -> ByteStream:
        if attachable:
            stream: ByteStream = PipeStream(os.dup(from_host), os.dup(to_host))
        else:
            stream = PipeStream(from_host, to_host)
        return wrap(stream) if wrap is not None else stream

    channel = Channel(attach)
    running = Running(process, channel, root)
    try:
        try:
            await channel.start(20)
        except SandboxError as error:
            error.add_note(f"{await running.stderr()!r}")
            raise
        yield running
    finally:
        await channel.aclose()
        if attachable:
            os.close(from_host)
            os.close(to_host)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def plain_command(toolhost: Path = TOOLHOST) -> list[str]:
    return [PYTHON, "-I", "-S", str(toolhost)]


def jail_command(root: Path) -> list[str]:
    """The toolhost as PID 1 without privileges, with a process limit of its own.

    It runs from a copy in `root`: the jail hides /tmp and cannot enter directories closed to other users, and the
    checkout may lie in either.
    """
    toolhost = root / ".toolhost"
    shutil.copytree(TOOLHOST, toolhost, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    isolation = ["--unshare-all", "--as-pid-1", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    mounts = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    jail = ["bwrap", *isolation, "--uid", "10001", "--gid", "10001", *mounts, "--bind", str(root), str(root)]
    limited = ["prlimit", "--nproc=150", *jail, *plain_command(toolhost)]
    if os.geteuid() == 0:
        # Limits on processes do not bind root, nor a user namespace of root's.
        return ["setpriv", f"--reuid={OUTER_UID}", f"--regid={OUTER_UID}", "--clear-groups", *limited]
    return limited
