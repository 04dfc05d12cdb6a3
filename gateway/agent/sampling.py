"""One model call: the request for the upstream, its answer to the client as it comes, tool calls held back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from gateway.agent.facts import TurnFacts
from gateway.agent.output import Output
from gateway.agent.records import Source, TurnRecords
from gateway.agent.retry import wait_before_retry
from gateway.limits.counts import at_least
from gateway.messages.assemble import Assembler
from gateway.messages.blocks import Message
from gateway.messages.events import (
    CONTENT_BLOCK_DELTA,
    CONTENT_BLOCK_START,
    CONTENT_BLOCK_STOP,
    MESSAGE_START,
    Event,
)
from gateway.providers.base import UpstreamFailure, UpstreamRequest
from gateway.routing.router import Router

log = structlog.get_logger(__name__)

CANCELLED = "cancelled"

_HELD_BACK = frozenset({"tool_use", "mcp_tool_use"})

Meter = Callable[[Source, Mapping[str, Any]], None]
"""Told who answered and the usage of every model call, whole or not."""


class Sampler:
    """Samples for one turn. Raises `UpstreamFailure` when there is no whole answer, `AuditUnavailable` before
    the upstream is asked."""

    def __init__(self, facts: TurnFacts, router: Router, out: Output, records: TurnRecords, meter: Meter) -> None:
        self._facts = facts
        self._router = router
        self._out = out
        self._records = records
        self._meter = meter
        self._begun = False

    async def sample(self, step: int, messages: Sequence[Message]) -> Assembler:
        """The whole answer. What can be tried before an answer begins, the router tries. One that breaks off later
        is the client's to retry in the first step; in later ones it is retried here as long as nothing of it
        was sent, since the client would be left with half a turn."""
        attempt = 0
        while True:
            attempt += 1
            sent = len(self._out.blocks)
            try:
                return await self._call(step, messages)
            except UpstreamFailure as failure:
                untouched = step > 1 and self._begun and len(self._out.blocks) == sent
                wait = wait_before_retry(failure, attempt) if untouched else None
                if wait is None:
                    raise
                log.warning("upstream_retried", turn=self._facts.turn_id, attempt=attempt, reason=failure.reason)
                await asyncio.sleep(wait)

    async def _call(self, step: int, messages: Sequence[Message]) -> Assembler:
        body = self._body(step, messages)
        intent = await self._records.model_call(step, len(messages), body)
        began = time.monotonic()
        answer, source = Assembler(), Source()
        self._begun = False
        problem: str | None = CANCELLED
        try:
            request = UpstreamRequest(body, self._facts.headers, self._facts.request_id, self._facts.request.model)
            async with self._router.stream(request) as stream:
                target = stream.target
                source = Source(target.upstream, target.model, stream.attempts, stream.headers.get("request-id"))
                self._begun = True
                async for event in stream:
                    answer.feed(event)
                    self._forward(event, answer)
            problem = None
            return answer
        except UpstreamFailure as failure:
            problem = failure.reason
            raise
        finally:
            self._meter(source, self._used(answer, source, body, problem))
            await self._records.model_result(intent, answer, source, began, problem)

    def _used(self, answer: Assembler, source: Source, body: bytes, problem: str | None) -> Mapping[str, Any]:
        """What the call used, as the upstream counts; an answer that broke off at least what was seen of it."""
        if answer.finished or (source.upstream is None and problem != CANCELLED):
            return answer.usage
        return at_least(answer.usage, asked=len(body), told=answer.characters)

    def _body(self, step: int, messages: Sequence[Message]) -> bytes:
        facts = self._facts
        fields: dict[str, object] = {"messages": self._marked(messages) if step > 1 else messages, "stream": True}
        drop: list[str] = []
        if facts.offer.changed:
            fields["tools"] = facts.offer.tools
        choice = facts.request.tool_choice
        if choice is not None and not facts.offer.tools:
            drop.append("tool_choice")
        elif choice is not None and step > 1 and choice.get("type") in ("any", "tool"):
            # A forced call that the gateway has answered would be forced for ever.
            kept = {key: value for key, value in choice.items() if key == "disable_parallel_tool_use"}
            fields["tool_choice"] = {"type": "auto", **kept}
        return facts.request.encode(drop=drop, **fields)

    def _marked(self, messages: Sequence[Message]) -> list[Message]:
        """The newest result marked as a cache breakpoint, where the client uses them and has one of four left."""
        *before, last = messages
        marks = self._facts.cache_marks
        if not 0 < marks < 4 or last.role != "user" or not last.blocks:
            return [*before, last]
        *others, newest = last.blocks
        return [*before, last.with_content([*others, newest.replace(cache_control={"type": "ephemeral"})])]

    def _forward(self, event: Event, answer: Assembler) -> None:
        """Everything but tool calls goes to the client as it comes; calls wait until the answer is whole."""
        if event.name == MESSAGE_START:
            self._out.start(event.data["message"])
        elif event.name == CONTENT_BLOCK_START:
            if event.data["content_block"].get("type") not in _HELD_BACK:
                self._out.open_block(event.data["content_block"])
        elif answer.content and answer.content[-1].get("type") in _HELD_BACK:
            # Claude Code ends the turn on any delta into an `mcp_tool_use`: it goes whole.
            if event.name == CONTENT_BLOCK_STOP and answer.content[-1]["type"] == "mcp_tool_use":
                self._out.whole_block(answer.content[-1])
        elif event.name == CONTENT_BLOCK_DELTA:
            self._out.delta(event.data["delta"])
        elif event.name == CONTENT_BLOCK_STOP:
            self._out.close_block()
