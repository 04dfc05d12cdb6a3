"""What only the bubblewrap driver has to care about: it reaches the host's files as the sandbox's own user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway.images.recipes import source_tree
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.channel import Channel
from gateway.sandbox.driver import SandboxSpec, Workspace
from gateway.sandbox.errors import SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.toolhost import Toolhost

TOOLHOST = source_tree().images / "toolhost"
OWNER = 10001 if os.getuid() == 0 else os.getuid()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Owned by a user who is not root, in directories that everybody may enter."""
    source = tmp_path / "open" / "ws"
    source.mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(source, OWNER, OWNER)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return source


async def test_a_toolhost_that_only_root_can_reach_still_starts(tmp_path: Path, workspace: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    driver = BubblewrapDriver([tmp_path], Path(shutil.copytree(TOOLHOST, closed / "toolhost")))
    await driver.start()
    sandbox = await driver.open(SandboxSpec("s-1", Workspace("bind", str(workspace))))
    channel = Channel(sandbox.attach)
    try:
        await channel.start(20)
        await Toolhost(channel).ping()
    finally:
        await channel.aclose()
        await sandbox.close()


async def test_a_workspace_its_owner_cannot_reach_is_refused_with_the_directory(
    tmp_path: Path, workspace: Path
) -> None:
    closed = workspace.parent
    closed.chmod(0o600)
    with pytest.raises(WorkspaceRefused, match=f"may not enter {closed}" if os.getuid() == 0 else ""):
        await BubblewrapDriver([tmp_path], TOOLHOST).open(SandboxSpec("s-1", Workspace("bind", str(workspace))))
    closed.chmod(0o700)


async def test_what_bubblewrap_says_is_told_when_it_cannot_make_a_sandbox(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "open" / "bin"
    broken.mkdir()
    for name, text in {"bwrap": "echo no namespaces here >&2; exit 1"}.items():
        program = broken / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    with pytest.raises(SandboxUnavailable, match="no namespaces here"):
        await BubblewrapDriver([tmp_path], TOOLHOST).open(SandboxSpec("s-1", Workspace("bind", str(workspace))))
