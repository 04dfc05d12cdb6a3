"""The files a session works on: where they come from, where they are seen. It must not know drivers."""

from dataclasses import dataclass
from typing import Literal

from gateway.broker import wire

__all__ = ["Workspace"]


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a session asks for; whether it may have it is decided where the sandbox is made."""

    mode: Literal["bind", "copy", "scratch"]
    """bind: the directory itself. copy: a copy-on-write view, discarded at the end. scratch: empty."""
    source: str | None = None
    """Host directory, real path (no link on the way); None for scratch."""
    mount: str | None = None
    """Absolute path inside; None means the source's own path, and /workspace for scratch."""

    def as_request(self) -> wire.Workspace:
        return wire.Workspace(mode=self.mode, source=self.source, mount=self.mount)
