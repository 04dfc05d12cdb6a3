"""A directory to work in, owned by who works there, and a key that is narrowed to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway
from tests.support.scripted import ScriptedUpstream

WORKER = 10001
"""Not root, whose files a sandbox refuses to share."""

Json = dict[str, Any]
Script = Callable[[Json], ScriptedUpstream]
"""Starts the upstream with a scenario."""


@dataclass(frozen=True)
class Project:
    """One test's own; the subject is nobody else's, so that its events and containers are its own too."""

    path: Path
    subject: str
    key: str

    @classmethod
    def make(cls, gateway: Gateway) -> Project:
        path = worker_directory(gateway.workspace_root)
        return cls(path, path.name, gateway.key(path.name, path))

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        os.chown(file, WORKER, WORKER)
        return file


def worker_directory(parent: Path) -> Path:
    """A fresh directory that a sandbox may share."""
    path = Path(tempfile.mkdtemp(dir=parent, prefix="project-"))
    os.chown(path, WORKER, WORKER)
    return path
