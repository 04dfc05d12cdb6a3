"""What the routes work with; made by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from gateway.agent.loop import Services
from gateway.agent.seal import Sealer
from gateway.agent.turns import Turns
from gateway.cache import PromptCache
from gateway.limits import Admission, UsageLedger
from gateway.settings import Settings
from gateway.store.keycache import KeyCache
from gateway.store.sessions import SessionRecords


@dataclass(frozen=True, slots=True)
class ApiContext:
    """One per gateway process. `problem` says in a sentence why work cannot be taken, if it cannot."""

    settings: Settings
    keys: KeyCache
    admission: Admission
    usage: UsageLedger
    prompt_cache: PromptCache
    services: Services
    turns: Turns
    sealer: Sealer
    records: SessionRecords
    problem: Callable[[], str | None]


def context_of(request: Request) -> ApiContext:
    """The context of the application that got the request."""
    context: ApiContext = request.app.state.context
    return context


def request_id_of(request: Request) -> str:
    """The id this request has in headers, errors and logs."""
    request_id: str = request.state.request_id
    return request_id
