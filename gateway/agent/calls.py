"""Gateway-run calls of one sampled answer: decide, record the intent, run, record the result.

Reads and programs of one answer run beside each other; a call that changes a file runs alone, in the order
the model gave. Results keep the order of the calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
import structlog

from gateway.agent.facts import TurnFacts
from gateway.audit.log import AuditLog
from gateway.policy import Decision, Disposition, Outcome
from gateway.sandbox.errors import SandboxError, ToolhostError
from gateway.tools.background import finished_notices
from gateway.tools.base import Effect, Prepared, Tool, ToolResult
from gateway.tools.catalogue import CATALOGUE
from gateway.tools.parse import InvalidInput, parse_input
from gateway.tools.texts import tool_use_error
from gateway.tools.workbench import Workbench

log = structlog.get_logger(__name__)

Json = dict[str, Any]


@dataclass(eq=False)
class PlannedCall:
    """One call on its way to a result. `pieces` is its output so far, for whoever shows it."""

    id: str
    name: str
    arguments: Any
    decision: Decision
    tool: Tool[Any] | None = None
    input: Any = None
    refusal: str = ""
    """What the model is told when the call does not run."""
    pieces: list[str] = field(default_factory=list)
    result: ToolResult | None = None
    failure: Exception | None = None
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def effect(self) -> Effect:
        return self.tool.effect if self.tool is not None else Effect.READ

    @property
    def headline(self) -> str:
        if self.tool is not None and self.input is not None:
            return self.tool.headline(self.input)
        return ""

    @property
    def finished(self) -> ToolResult:
        """The result; only once `output` has ended."""
        if self.result is None:
            raise RuntimeError(f"call {self.id} has no result yet")
        return self.result

    def show(self, text: str) -> None:
        if text:
            self.pieces.append(text)
            self._grown.set()

    def done(self, result: ToolResult | None, failure: Exception | None = None) -> None:
        self.result, self.failure = result, failure
        self._grown.set()

    async def output(self) -> AsyncIterator[str]:
        """Pieces as they come, until the call is done. Raises what kept it from having a result."""
        position = 0
        while True:
            while position < len(self.pieces):
                position += 1
                yield self.pieces[position - 1]
            if self.failure is not None:
                raise self.failure
            if self.result is not None:
                return
            self._grown.clear()
            await self._grown.wait()


def plan(block: Json, call_id: str, disposition: Disposition, unreadable: str | None) -> PlannedCall:
    """What is to be done with a call of the model. `unreadable` is an input that was no JSON object."""
    name = str(block.get("name"))
    arguments = block.get("input")
    tool = CATALOGUE.get(name)
    if disposition not in (Disposition.GATEWAY, Disposition.SHARED) or tool is None:
        text = tool_use_error(
            f"Error: No such tool available: {name}. It is not offered in this sandboxed session. Use one of "
            "the available tools instead."
        )
        return PlannedCall(call_id, name, arguments, _deny("tool_not_offered"), refusal=text)
    if unreadable is not None:
        text = tool_use_error(f"InputValidationError: {name} failed: its input is not a JSON object")
        return PlannedCall(call_id, name, {}, _deny("invalid_input"), refusal=text)
    try:
        parsed = parse_input(name, tool.input_type, arguments)
    except InvalidInput as error:
        return PlannedCall(call_id, name, arguments, _deny("invalid_input"), refusal=str(error))
    allowed = Decision(Outcome.ALLOW, "sandboxed")
    return PlannedCall(call_id, name, arguments, allowed, tool, parsed)


def _deny(reason: str) -> Decision:
    return Decision(Outcome.DENY, reason)


class CallRunner:
    """Runs the calls of one turn. `bench` opens the session when the first call needs it."""

    def __init__(self, facts: TurnFacts, audit: AuditLog, bench: Callable[[], Awaitable[Workbench]]) -> None:
        self._facts = facts
        self._audit = audit
        self._bench = bench
        self.count = 0

    async def run_all(self, calls: Sequence[PlannedCall]) -> None:
        """Every call ends with a result or a failure set; failures stop those that have not started."""
        for batch in _batches(calls):
            async with asyncio.TaskGroup() as group:
                for call in batch:
                    group.create_task(self._run(call))
            if any(call.failure for call in batch):
                break

    async def _run(self, call: PlannedCall) -> None:
        try:
            call.done(await self._result(call))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the result
            call.done(None, error)

    async def _result(self, call: PlannedCall) -> ToolResult:
        if not call.decision.allowed or call.tool is None:
            await self._note_refusal(call)
            return ToolResult(call.refusal, is_error=True)
        bench = await self._bench()
        self.count += 1
        with bench.session.in_use():
            prepared = call.tool.prepare(call.input, bench)
            intent = await self._durable_intent(call, bench, prepared)
            started = time.monotonic()
            result: ToolResult | None = None
            error: Exception | None = None
            try:
                result = await prepared.run(call.show)
                return _with_notices(result, bench)
            except ToolhostError as refused:
                error = refused
                return ToolResult(f"The sandbox refused: {refused}", is_error=True)
            except SandboxError as lost:
                error = lost
                log.error("sandbox_lost", session=bench.session.id, reason=lost.reason, error=str(lost))
                # Also one that only kept silent: the model is told that the next call has a fresh sandbox.
                bench.session.channel.break_off(str(lost))
                return ToolResult(_lost(lost), is_error=True)
            except Exception as unexpected:
                error = unexpected
                raise
            finally:
                elapsed = round((time.monotonic() - started) * 1000, 1)
                await self._record_outcome(call, bench, intent, result, error, elapsed)

    async def _durable_intent(self, call: PlannedCall, bench: Workbench, prepared: Prepared) -> int:
        """The intent's number once it is on disk; meanwhile the call is made ready. Without it nothing runs."""
        intent: int | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(prepared.begin())
                intent = await self._audit.intent("tool.intent", **self._about(bench), body=self._intent(call))
        except BaseException:
            await prepared.drop()
            if intent is not None:
                await self._record_outcome(call, bench, intent, None, None, 0.0)
            raise
        return intent

    async def _record_outcome(
        self,
        call: PlannedCall,
        bench: Workbench,
        intent: int,
        result: ToolResult | None,
        error: Exception | None,
        elapsed: float,
    ) -> None:
        body = self._outcome(call, result, error, elapsed)
        await self._audit.record("tool.result", **self._about(bench), body=body, intent=intent)

    def _about(self, bench: Workbench) -> dict[str, str]:
        return {"session": bench.session.id, "principal": self._facts.session.subject}

    def _intent(self, call: PlannedCall) -> Json:
        return {
            "turn": self._facts.turn_id,
            "agent": self._facts.agent,
            "call": call.id,
            "tool": call.name,
            "input": call.arguments,
            "effect": call.effect.value,
            "decision": call.decision.reason,
        }

    def _outcome(self, call: PlannedCall, result: ToolResult | None, error: Exception | None, elapsed: float) -> Json:
        body: Json = {"turn": self._facts.turn_id, "call": call.id, "tool": call.name, "ms": elapsed}
        if result is None:
            if error is None:
                return {**body, "outcome": "cancelled"}
            lost = isinstance(error, SandboxError) and not isinstance(error, ToolhostError)
            return {**body, "outcome": "lost" if lost else "error", "error": str(error)}
        facts = result.facts
        body["outcome"] = "timeout" if facts.get("timed_out") else "error" if result.is_error else "ok"
        body["exit"] = result.code
        body["bytes"] = facts.get("output_bytes", facts.get("bytes"))
        body["facts"] = facts
        body["digest"] = sha256(msgspec.json.encode(result.content)).hexdigest()
        return body

    async def _note_refusal(self, call: PlannedCall) -> None:
        await self._audit.record(
            "tool.refused",
            session=None,
            principal=self._facts.session.subject,
            body={
                "turn": self._facts.turn_id,
                "call": call.id,
                "tool": call.name,
                "input": call.arguments,
                "reason": call.decision.reason,
                "message": call.refusal,
            },
        )


def _batches(calls: Sequence[PlannedCall]) -> list[list[PlannedCall]]:
    batches: list[list[PlannedCall]] = []
    for call in calls:
        alone = call.effect is Effect.WRITE
        if batches and not alone and batches[-1][-1].effect is not Effect.WRITE:
            batches[-1].append(call)
        else:
            batches.append([call])
    return batches


def _with_notices(result: ToolResult, bench: Workbench) -> ToolResult:
    """Background jobs that ended since are told with the next result."""
    notices = finished_notices(bench)
    if not notices or not isinstance(result.content, str):
        return result
    text = "\n".join(notices)
    content = f"{result.content}\n\n<system-reminder>\n{text}\n</system-reminder>"
    return ToolResult(content, result.is_error, result.code, result.facts, result.shown or result.content)


def _lost(error: SandboxError) -> str:
    return (
        f"The sandbox of this session was lost while the call ran ({error}). Its processes and temporary files "
        "are gone; whether the call took effect in the workspace is not known. The next call opens a fresh "
        "sandbox on the same workspace."
    )
