"""What the audit log is told about a turn and its model calls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gateway.agent.budget import LimitReached
from gateway.agent.facts import TurnFacts
from gateway.audit.chain import Announcement
from gateway.audit.log import AuditLog
from gateway.messages import usage as counts
from gateway.messages.assemble import Assembler
from gateway.messages.errors import ApiError
from gateway.sandbox.sessions import Sessions

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Who answered a model call, as far as anybody did."""

    upstream: str | None = None
    model: str | None = None
    """The upstream's own name of it."""
    attempts: int | None = None
    request_id: str | None = None


class TurnRecords:
    """Writes the events of one turn."""

    def __init__(self, facts: TurnFacts, audit: AuditLog, sessions: Sessions, provider: str) -> None:
        self._facts = facts
        self._audit = audit
        self._sessions = sessions
        self._provider = provider
        self._began = time.monotonic()

    async def turn_started(self, resumed_steps: int) -> None:
        facts = self._facts
        await self._note(
            "turn.start",
            {
                "turn": facts.turn_id,
                "model": facts.request.model,
                "client": facts.client,
                "agent": facts.agent,
                "stream": facts.request.stream,
                "messages": len(facts.request.messages),
                "digest": facts.digest,
                "resumed_steps": resumed_steps,
            },
        )

    async def turn_ended(
        self, stop_reason: str | None, iterations: list[Json], calls: int, error: ApiError | None
    ) -> None:
        total: Json = {}
        for one in iterations:
            total = counts.add(total, one)
        await self._note(
            "turn.end",
            {
                "turn": self._facts.turn_id,
                "stop_reason": stop_reason,
                "steps": len(iterations),
                "calls": calls,
                "input_tokens": total.get("input_tokens"),
                "output_tokens": total.get("output_tokens"),
                "ms": _since(self._began),
                "error": f"{error.type}: {error.message}" if error is not None else None,
            },
        )

    async def limit_reached(self, limit: LimitReached) -> None:
        await self._note(
            "limit.reached",
            {"turn": self._facts.turn_id, "limit": limit.limit, "value": limit.value, "message": limit.text},
        )

    async def model_call(self, step: int, messages: int, body: bytes) -> Announcement:
        """Announced, not waited for: a model call changes nothing here, and what it leads to has durable intents
        of its own, which come after it. Raises `AuditUnavailable` while the log cannot be written."""
        return await self._audit.announce(
            "model.call",
            session=self._session(),
            principal=self._facts.session.subject,
            body={
                "turn": self._facts.turn_id,
                "step": step,
                "provider": self._provider,
                "model": self._facts.request.model,
                "messages": messages,
                "bytes": len(body),
                "digest": sha256(body).hexdigest(),
            },
        )

    async def model_result(
        self, intent: Announcement, answer: Assembler, source: Source, began: float, problem: str | None
    ) -> None:
        counted = answer.usage
        await self._audit.conclude(
            "model.result",
            session=self._session(),
            principal=self._facts.session.subject,
            body={
                "turn": self._facts.turn_id,
                "model": answer.message.get("model"),
                "upstream": source.upstream,
                "attempts": source.attempts,
                "request_id": source.request_id,
                "stop_reason": answer.stop_reason,
                "input_tokens": counted.get("input_tokens"),
                "output_tokens": counted.get("output_tokens"),
                "cache_read_input_tokens": counted.get("cache_read_input_tokens"),
                "cache_creation_input_tokens": counted.get("cache_creation_input_tokens"),
                "ms": _since(began),
                "error": problem,
            },
            intent=intent,
        )

    async def settled(self) -> None:
        """Return when everything recorded so far is on disk."""
        await self._audit.flush()

    async def _note(self, kind: str, body: Json) -> None:
        await self._audit.record(kind, session=self._session(), principal=self._facts.session.subject, body=body)

    def _session(self) -> str | None:
        session = self._sessions.peek(self._facts.session)
        return session.id if session is not None else None


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
