"""The demo's own temporary directory: workspace, data directory, logs, and a secret the sandbox must not see."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SANDBOX_UID = 10001
"""Owner of the workspace when the demo runs as root, whose files a sandbox is never given."""


@dataclass(frozen=True, slots=True)
class Place:
    """Paths below the temporary directory; `secret` is what `secret_file` says."""

    root: Path
    secret: str

    @property
    def workspace(self) -> Path:
        return self.root / "invoices"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def secret_file(self) -> Path:
        """Outside the workspace and readable by every account of the host: only the sandbox keeps it away."""
        return self.root / "host" / "customers.txt"

    @property
    def scenario(self) -> Path:
        return self.root / "scenario.yaml"

    @property
    def record(self) -> Path:
        """Every request the scripted model got."""
        return self.root / "upstream.jsonl"

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"


@contextlib.contextmanager
def temporary_place(*, keep: bool) -> Iterator[Place]:
    """A fresh place, gone afterwards unless `keep`."""
    root = Path(tempfile.mkdtemp(prefix="bulkhead-demo-")).resolve()
    try:
        root.chmod(0o755)  # the sandbox's user reaches its workspace through here
        place = Place(root, f"host-secret-{secrets.token_hex(16)}")
        place.data.mkdir(mode=0o700)
        place.secret_file.parent.mkdir()
        place.secret_file.write_text(f"{place.secret}\n", encoding="utf-8")
        place.secret_file.chmod(0o644)
        yield place
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)  # what stays is found by the check for leftovers


def give_to_sandbox(directory: Path) -> None:
    """As root: hand the directory to an account that sandboxes may run as. Else it is ours, which is fine."""
    if os.geteuid() != 0:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, SANDBOX_UID, SANDBOX_UID, follow_symlinks=False)
