"""What the audit log is told of a forwarded request: that it goes out, and how it ended."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gateway.api.client import Claims
from gateway.audit.chain import Announcement
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import AuditLog
from gateway.providers.base import UpstreamRequest
from gateway.relay.passage import Passage
from gateway.store.keys import Principal

__all__ = ["RelayRecords", "Started"]


@dataclass(frozen=True, slots=True)
class Started:
    """A request that went out."""

    intent: Announcement
    principal: str
    began: float


class RelayRecords:
    """`begin` before anything goes upstream; it raises `AuditUnavailable` while the log cannot be written."""

    def __init__(self, audit: AuditLog, provider: str) -> None:
        self._audit = audit
        self._provider = provider

    async def begin(self, principal: Principal, client: Claims, session: str, request: UpstreamRequest) -> Started:
        intent = await self._audit.announce(
            "model.call",
            session=None,
            principal=principal.subject,
            body={
                "turn": request.request_id,
                "client": client.program,
                "client_session": session,
                "agent": client.agent,
                "provider": self._provider,
                "model": request.model,
                "bytes": len(request.body),
                "digest": sha256(request.body).hexdigest(),
            },
        )
        return Started(intent, principal.subject, time.monotonic())

    async def end(self, started: Started, passage: Passage, problem: str | None) -> None:
        """How it ended. Never raises: the answer may be on its way, and the log itself says that it is broken."""
        used: dict[str, Any] = passage.usage
        with contextlib.suppress(AuditUnavailable):
            await self._conclude(started, passage, used, problem)

    async def _conclude(self, started: Started, passage: Passage, used: dict[str, Any], problem: str | None) -> None:
        await self._audit.conclude(
            "model.result",
            session=None,
            principal=started.principal,
            intent=started.intent,
            body={
                "model": passage.answered_model,
                "upstream": passage.upstream,
                "attempts": passage.attempts,
                "request_id": passage.upstream_request,
                "stop_reason": passage.stop_reason,
                "input_tokens": used.get("input_tokens"),
                "output_tokens": used.get("output_tokens"),
                "cache_read_input_tokens": used.get("cache_read_input_tokens"),
                "cache_creation_input_tokens": used.get("cache_creation_input_tokens"),
                "ms": round((time.monotonic() - started.began) * 1000, 1),
                "error": problem,
            },
        )
