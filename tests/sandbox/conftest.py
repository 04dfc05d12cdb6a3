"""Fixtures: a toolhost as a plain child process, and one that is PID 1 of a bubblewrap sandbox."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from toolhost_processes import Running, Wrap, jail_command, launched, plain_command

Launch = Callable[..., Awaitable[Running]]


@pytest.fixture
def workdir() -> Iterator[Path]:
    """A directory that the unprivileged user of the jail can reach and write (pytest's own are private)."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-test-") as base:
        os.chmod(base, 0o755)
        root = Path(base) / "work"
        root.mkdir()
        root.chmod(0o777)
        yield root


@pytest.fixture
async def launch(workdir: Path) -> AsyncIterator[Launch]:
    async with AsyncExitStack() as stack:

        async def start(*, jail: bool = False, wrap: Wrap | None = None, attachable: bool = False) -> Running:
            command = jail_command(workdir) if jail else plain_command()
            return await stack.enter_async_context(launched(command, workdir, wrap=wrap, attachable=attachable))

        yield start


@pytest.fixture
async def running(launch: Launch) -> Running:
    """A toolhost as a plain child process."""
    return await launch()


@pytest.fixture
async def jailed(launch: Launch) -> Running:
    """A toolhost that is PID 1 of its own process namespace, unprivileged."""
    return await launch(jail=True)
