"""Workspaces that a sandbox may be given, and a gateway over them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.messages_api import Caller
from tests.support.processes import plain_environment

WORKER = 10001
"""Who works in the workspaces: not root, whose files a sandbox refuses."""


@contextlib.contextmanager
def workspaces() -> Iterator[Path]:
    """A directory for workspaces that sandboxes of any driver can reach."""
    root = Path(tempfile.mkdtemp(prefix="bulkhead-test-"))
    root.chmod(0o755)
    owned(root)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def owned(path: Path) -> Path:
    """The path, given to the worker."""
    os.chown(path, WORKER, WORKER)
    return path


@contextlib.contextmanager
def started(folder: Path, upstream_url: str, root: Path, **variables: str) -> Iterator[Gateway]:
    """A gateway whose end is the test's own business; one that a failed test left running is ended."""
    running = Gateway(folder, upstream_url, root, **variables)
    try:
        yield running
    finally:
        if running.process.running:
            running.process.stop()


@contextlib.contextmanager
def serving(folder: Path, upstream_url: str, **variables: str) -> Iterator[Gateway]:
    """A gateway for a block. It must end in order, leave nothing behind and an audit log that verifies."""
    with workspaces() as root, started(folder, upstream_url, root, **variables) as running:
        yield running
        assert running.stop() == 0, running.process.stderr
        verify_audit(running)


def verify_audit(gateway: Gateway) -> None:
    """`bulkhead audit verify` on the gateway's store."""
    environment = plain_environment(
        gateway.data_dir.parent, BULKHEAD_DATA_DIR=str(gateway.data_dir), WORKSPACE_ROOT=str(gateway.workspace_root)
    )
    command = [gateway.program, "audit", "verify"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Member:
    """Somebody with a key and a workspace of their own."""

    subject: str
    workspace: Path
    caller: Caller

    def write(self, name: str, content: str | bytes) -> Path:
        file = self.workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return owned(file)


def join(gateway: Gateway, session: str | None = "one") -> Member:
    """A new subject with an empty workspace."""
    workspace = owned(Path(tempfile.mkdtemp(dir=gateway.workspace_root, prefix="member-")))
    key = gateway.key(workspace.name, workspace)
    return Member(workspace.name, workspace, Caller(gateway.url, key, session))
