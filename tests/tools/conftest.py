"""A workbench over a real sandbox: the toolhost in bubblewrap, which opens in a few hundredths of a second."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.images.recipes import source_tree
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.driver import Workspace
from gateway.sandbox.session import SessionKey, SessionObserver
from gateway.sandbox.sessions import Sessions
from gateway.tools.base import ToolResult
from gateway.tools.catalogue import CATALOGUE
from gateway.tools.parse import parse_input
from gateway.tools.workbench import Workbench, Workbenches

OWNER = 10001


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty directory that a sandbox may be given."""
    place = tmp_path / "ws"
    place.mkdir()
    if os.getuid() == 0:
        os.chown(place, OWNER, OWNER)
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    return place.resolve()


@pytest.fixture
def put(workspace: Path) -> Callable[[str, bytes | str], Path]:
    """Put a file into the workspace, owned like the workspace."""

    def write(name: str, content: bytes | str) -> Path:
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if os.getuid() == 0:
            for place in (path, *path.parents):
                if place == workspace:
                    break
                os.chown(place, OWNER, OWNER)
        return path

    return write


@pytest.fixture
async def bench(workspace: Path) -> AsyncIterator[Workbench]:
    driver = BubblewrapDriver([workspace.parent], source_tree().images / "toolhost")
    sessions = Sessions(driver, SessionObserver(), idle_seconds=600, max_sessions=2)
    session = await sessions.get(SessionKey("alice", "one"), Workspace("bind", str(workspace), str(workspace)))
    yield Workbenches(output_limit=4 * 1024 * 1024).of(session, "", None)
    await sessions.aclose()


@pytest.fixture
def run(bench: Workbench) -> Callable[..., Any]:
    """Run a tool by name as the agent does: arguments parsed, output shown to nobody."""

    async def call(name: str, **arguments: Any) -> ToolResult:
        tool = CATALOGUE[name]
        parsed = parse_input(name, tool.input_type, {key.replace("__", "-"): value for key, value in arguments.items()})
        return await tool.run(parsed, bench, lambda _: None)

    return call
