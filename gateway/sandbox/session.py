"""One open session: a sandbox, the channel into it, and who it belongs to.

Knows drivers and the toolhost; knows nothing of tools, models or HTTP.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.sandbox.channel import Channel
from gateway.sandbox.driver import Sandbox, Workspace
from gateway.sandbox.errors import SandboxError
from gateway.sandbox.toolhost import Toolhost

HOME = "/home/agent"
"""Home directory inside every sandbox."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whose session: client-chosen names are only unique within a subject."""

    subject: str
    client_session: str


@dataclass(eq=False)
class Session:
    """An open sandbox. `in_use()` holds it open; an idle one may be closed at any time."""

    id: str
    key: SessionKey
    workspace: Workspace
    sandbox: Sandbox
    channel: Channel
    toolhost: Toolhost
    opened_at: float
    last_used: float
    users: int = 0
    closing: bool = False

    @property
    def label(self) -> str:
        """Four characters by which a person tells sandboxes apart."""
        return self.sandbox.id[:4]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While in use, the idle clock stands still."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.last_used = time.monotonic()


class SessionObserver:
    """What a session's life tells its audience (the composition root writes it to audit and store).

    `opening` returns when it is safe to create a container: its audit intent is durable. It raises otherwise.
    """

    async def opening(self, session_id: str, key: SessionKey, workspace: Workspace) -> int:
        """Return the number of the durable intent."""
        return 0

    async def opened(self, session: Session, intent: int) -> None:
        """The sandbox answers."""

    async def open_failed(self, session_id: str, key: SessionKey, intent: int, error: SandboxError) -> None:
        """Nothing was left behind."""

    async def closed(self, session: Session, reason: str) -> None:
        """The sandbox and all that belonged to it is gone."""
