"""What a request's headers and metadata say about the client: which program, whose session, which agent."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers

from gateway.messages.digest import session_identity
from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest

SESSION_HEADER = "x-bulkhead-session"
"""A session by name for clients that have no session of their own; answered on every turn."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """`session` is the client's name for its session; `named` is false when the gateway made it up."""

    program: str
    claude_code: bool
    session: str
    named: bool
    agent: str


def client_facts(headers: Headers, request: MessagesRequest) -> ClientFacts:
    """Names are the client's choice and are scoped by subject before use. Raises `InvalidRequest`."""
    program = headers.get("user-agent", "")[:200]
    own_session = headers.get("x-claude-code-session-id")
    claude_code = (
        own_session is not None
        or program.startswith("claude-cli/")
        or "claude-code-" in headers.get("anthropic-beta", "")
    )
    named = (
        own_session
        or session_identity(request.user_id).session_id
        or headers.get(SESSION_HEADER)
        or _container(request)
    )
    agent = headers.get("x-claude-code-agent-id", "")
    for what, name in (("session", named), ("agent", agent)):
        if name and not _NAME.match(name):
            raise InvalidRequest(f"The {what} id should be 1-128 letters, digits or ._:@-")
    return ClientFacts(program, claude_code, named or f"anon-{secrets.token_hex(12)}", bool(named), agent)


def _container(request: MessagesRequest) -> str | None:
    container = request.get("container")
    if isinstance(container, dict):
        container = container.get("id")
    return container if isinstance(container, str) and container else None
