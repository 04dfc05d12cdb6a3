"""What a request's headers and metadata say about the client: which program, whose session, which agent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from gateway.messages.digest import session_identity
from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest

SESSION_HEADER = "x-bulkhead-session"
"""A session by name for clients that have no session of their own; answered on every turn."""

_CLAUDE_CODE = re.compile(r"claude-cli/(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Claims:
    """What the headers alone say. `session` is "" where they name none; nothing here is checked but `well_formed`."""

    program: str
    claude_code: bool
    session: str
    agent: str

    @property
    def well_formed(self) -> bool:
        """Whether the names can be names."""
        return all(not name or _NAME.match(name) for name in (self.session, self.agent))


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """`session` is the client's name for its session; `named` is false when the gateway made it up."""

    program: str
    claude_code: bool
    session: str
    named: bool
    agent: str

    @property
    def reads_iterations(self) -> bool:
        """Whether the program reads `usage.iterations`: all do but Claude Code before 2.1.330 (measured with
        2.1.197; the release that began to is not known, and taking a new one for old only dims its cost)."""
        version = _CLAUDE_CODE.match(self.program)
        return version is None or tuple(int(part) for part in version.groups()) >= (2, 1, 330)


def claims(headers: Mapping[str, str]) -> Claims:
    """Reads no body."""
    program = headers.get("user-agent", "")[:200]
    own_session = headers.get("x-claude-code-session-id")
    claude_code = (
        own_session is not None
        or program.startswith("claude-cli/")
        or "claude-code-" in headers.get("anthropic-beta", "")
    )
    session = own_session or headers.get(SESSION_HEADER, "")
    return Claims(program, claude_code, session, headers.get("x-claude-code-agent-id", ""))


def client_facts(headers: Headers, request: MessagesRequest) -> ClientFacts:
    """Names are the client's choice and are scoped by subject before use. Raises `InvalidRequest`."""
    claimed = claims(headers)
    named = (
        headers.get("x-claude-code-session-id")
        or session_identity(request.user_id).session_id
        or claimed.session
        or _container(request)
    )
    for what, name in (("session", named), ("agent", claimed.agent)):
        if name and not _NAME.match(name):
            raise InvalidRequest(f"The {what} id should be 1-128 letters, digits or ._:@-")
    return ClientFacts(
        claimed.program, claimed.claude_code, named or f"anon-{secrets.token_hex(12)}", bool(named), claimed.agent
    )


def _container(request: MessagesRequest) -> str | None:
    container = request.get("container")
    if isinstance(container, dict):
        container = container.get("id")
    return container if isinstance(container, str) and container else None
