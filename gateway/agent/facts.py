"""What one request means, decided before its turn starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.agent.offer import Offer
from gateway.messages.blocks import Message
from gateway.messages.request import MessagesRequest
from gateway.sandbox.driver import Workspace
from gateway.sandbox.session import SessionKey


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """`messages` is the rebuilt conversation; `headers` are the client's that go upstream."""

    turn_id: str
    request_id: str
    request: MessagesRequest
    messages: list[Message]
    offer: Offer
    headers: Mapping[str, str]
    session: SessionKey
    agent: str
    """The client's name of the subagent; "" is the main one."""
    workspace: Workspace
    directory: str | None
    """Where the client says it works."""
    display: bool
    client: str
    """The client's name and version, as it says."""
    digest: str
    """Of the normalised conversation."""
    cache_marks: int
    """Cache breakpoints that the client set, of at most four."""
    reads_iterations: bool = True
    """Whether the client reads `usage.iterations`; see `Budget.usage`."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Limits of one turn; reaching one ends it with an explained answer."""

    steps: int
    seconds: float
    repeats: int
    output_tokens: int | None
    heartbeat_seconds: float
