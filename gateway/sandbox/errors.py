"""What can go wrong with a sandbox, as one small tree. Knows nothing of channels, drivers or methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "ChannelBroken",
    "SandboxError",
    "SandboxGone",
    "SandboxUnavailable",
    "StreamClosed",
    "ToolhostError",
    "ToolhostTimeout",
    "WorkspaceRefused",
]


class SandboxError(Exception):
    """Anything a sandbox can refuse or lose. `reason` is stable and machine readable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class SandboxUnavailable(SandboxError):
    """No sandbox can be had (engine down, image missing, no room): nothing runs."""


class WorkspaceRefused(SandboxError):
    """The workspace may not be mounted; trying again will not help."""


class SandboxGone(SandboxError):
    """The sandbox ended or cannot be reached any more; its state is lost."""

    def __init__(self, message: str, reason: str = "gone") -> None:
        super().__init__(reason, message)


class ChannelBroken(SandboxError):
    """The toolhost broke the wire contract. The sandbox must be closed: nothing it says counts any more."""

    def __init__(self, message: str) -> None:
        super().__init__("channel_broken", message)


class ToolhostTimeout(SandboxError):
    """No answer in time. The channel still works; what the method did is unknown."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__("timeout", f"{method} gave no answer within {seconds:g} s")
        self.method = method


class ToolhostError(SandboxError):
    """A method refused. `reason` is one of the documented ones (docs/toolhost.md), `data` adds facts."""

    def __init__(self, reason: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason, message)
        self.data: Mapping[str, Any] = data or {}


class StreamClosed(Exception):
    """The byte stream takes no more bytes. Not an error of the sandbox: the channel attaches again."""
