"""One turn: sample, run what the gateway runs, feed back, until the model or a limit ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import structlog

from gateway.agent import display
from gateway.agent.calls import CallRunner, PlannedCall, plan
from gateway.agent.facts import TurnFacts, TurnLimits
from gateway.agent.history import call_ids
from gateway.agent.output import DISPLAY_MARK, Output
from gateway.agent.pairs import MARK, Call, Pairs, fresh_call_id
from gateway.agent.progress import FinishedStep
from gateway.agent.retry import wait_before_retry
from gateway.agent.turns import Turn
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import AuditLog
from gateway.messages import usage as counts
from gateway.messages.assemble import Assembler
from gateway.messages.blocks import Block, Message
from gateway.messages.errors import NO_RETRY, ApiError
from gateway.messages.events import (
    CONTENT_BLOCK_DELTA,
    CONTENT_BLOCK_START,
    CONTENT_BLOCK_STOP,
    MESSAGE_START,
    Event,
)
from gateway.policy import Disposition, local_effect_properties
from gateway.providers.base import Provider, UpstreamFailure, UpstreamRequest
from gateway.sandbox.errors import SandboxError, SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.sessions import Sessions
from gateway.tools.workbench import Workbench, Workbenches

log = structlog.get_logger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Services:
    """What a turn works with."""

    provider: Provider
    sessions: Sessions
    workbenches: Workbenches
    audit: AuditLog
    limits: TurnLimits


class LimitReached(Exception):
    """Ends the turn with an answer that says why."""

    def __init__(self, limit: str, value: object, text: str) -> None:
        super().__init__(text)
        self.limit = limit
        self.value = value
        self.text = text


class TurnRun:
    """Runs one turn to its end; `run` is the turn's task."""

    def __init__(self, facts: TurnFacts, turn: Turn, services: Services, pairs: Pairs) -> None:
        self._facts = facts
        self._turn = turn
        self._services = services
        self._pairs = pairs
        self._out = Output(turn.log, facts.request.model)
        self._messages: list[Message] = list(facts.messages)
        self._ids = call_ids(self._messages)
        self._runner = CallRunner(facts, services.audit, self._bench)
        self._iterations: list[Json] = []
        self._last_calls: tuple[str, int] = ("", 0)
        self._step_began = 0
        self._started = time.monotonic()

    async def run(self) -> None:
        """Write the whole turn to its log. Raises only when cancelled."""
        error: ApiError | None = None
        stop_reason: str | None = "cancelled"
        try:
            await self._record("turn.start", self._opening())
            stop_reason = await self._with_heartbeat()
            self._turn.succeeded = True
        except Exception as failure:  # noqa: BLE001 - the one place where a turn's failure becomes an answer
            error = self._answer(failure)
            stop_reason = None
        finally:
            await self._record("turn.end", self._closing(stop_reason, error))
            if error is not None:
                self._out.fail(error, self._facts.request_id)
            elif not self._turn.log.ended:
                cancelled = ApiError(500, "api_error", "The turn was cancelled.")
                self._out.fail(cancelled, self._facts.request_id)

    async def _with_heartbeat(self) -> str | None:
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(self._beat())
            deadline = asyncio.timeout(self._services.limits.seconds)
            try:
                async with deadline:
                    return await self._steps()
            except TimeoutError:
                if not deadline.expired():
                    raise
                seconds = self._services.limits.seconds
                text = f"This turn was stopped after {seconds:g} seconds, the longest a turn may take here."
                return await self._limited(LimitReached("max_turn_seconds", seconds, text))
            except LimitReached as limit:
                return await self._limited(limit)
            finally:
                beat.cancel()

    async def _beat(self) -> None:
        every = self._services.limits.heartbeat_seconds
        while not self._turn.log.ended:
            silent = time.monotonic() - self._out.last_write
            if silent >= every:
                self._out.heartbeat()
                silent = 0.0
            await asyncio.sleep(every - silent)

    async def _steps(self) -> str | None:
        self._replay()
        step = len(self._turn.progress.steps)
        while True:
            step += 1
            self._check_budget(step)
            answer = await self._sample_with_retry(step)
            self._iterations.append(answer.usage)
            uses = [(at, block) for at, block in enumerate(answer.content) if block.get("type") == "tool_use"]
            if answer.stop_reason == "max_tokens" and answer.bad_inputs:
                uses = []
            if not uses and answer.stop_reason == "pause_turn":
                self._messages.append(_assistant(answer.content))
                continue
            if not uses:
                return await self._finish(answer.stop_reason, answer)
            if await self._answer_calls(step, answer, uses):
                return await self._finish("tool_use", answer)

    # -- sampling

    async def _sample_with_retry(self, step: int) -> Assembler:
        """The first step's failure is the client's to retry; later ones are retried here, since the client
        would see a half-finished turn."""
        attempt = 0
        while True:
            attempt += 1
            self._step_began = len(self._out.blocks)
            try:
                return await self._sample(step)
            except UpstreamFailure as failure:
                sent = len(self._out.blocks) > self._step_began
                wait = None if sent or step == 1 else wait_before_retry(failure, attempt)
                if wait is None:
                    raise
                log.warning(
                    "upstream_retried", turn=self._facts.turn_id, attempt=attempt, reason=failure.reason
                )
                await asyncio.sleep(wait)

    async def _sample(self, step: int) -> Assembler:
        body = self._body(step)
        intent = await self._services.audit.intent(
            "model.call", **self._about(), body=self._call_facts(step, body)
        )
        started = time.monotonic()
        assembler = Assembler()
        problem: str | None = "cancelled"
        try:
            request = UpstreamRequest(body, self._facts.headers, self._facts.request_id)
            async with self._services.provider.stream(request) as stream:
                async for event in stream:
                    assembler.feed(event)
                    self._forward(event, assembler)
            problem = None
            return assembler
        except UpstreamFailure as failure:
            problem = failure.reason
            raise
        finally:
            result = _model_result(self._facts.turn_id, assembler, started, problem)
            await self._services.audit.record("model.result", **self._about(), body=result, intent=intent)

    def _body(self, step: int) -> bytes:
        request, fields = self._facts.request, dict[str, object]()
        drop: list[str] = []
        fields["messages"] = self._marked(self._messages) if step > 1 else self._messages
        if self._facts.offer.changed:
            fields["tools"] = self._facts.offer.tools
        choice = request.tool_choice
        if (
            choice is not None
            and choice.get("type") in ("any", "tool")
            and (step > 1 or not self._facts.offer.tools)
        ):
            # A forced call that the gateway answered would be forced for ever.
            kept = {key: value for key, value in choice.items() if key == "disable_parallel_tool_use"}
            fields["tool_choice"] = {"type": "auto", **kept}
        if not self._facts.offer.tools and "tool_choice" in request.fields:
            drop.append("tool_choice")
        return request.encode(drop=drop, **fields, stream=True)

    def _marked(self, messages: list[Message]) -> list[Message]:
        """The newest result marked as a cache breakpoint, where the client uses them and has one left."""
        last = messages[-1]
        marks = self._facts.request.encode().count(b'"cache_control"')
        if not 0 < marks < 4 or last.role != "user" or not last.blocks:
            return messages
        *before, newest = last.blocks
        marked = newest.replace(cache_control={"type": "ephemeral"})
        return [*messages[:-1], last.with_content([*before, marked])]

    def _forward(self, event: Event, assembler: Assembler) -> None:
        """Everything but tool calls goes to the client as it comes; calls wait until their answer is whole."""
        if event.name == MESSAGE_START:
            self._out.start(event.data["message"])
        elif event.name == CONTENT_BLOCK_START:
            if event.data["content_block"].get("type") != "tool_use":
                self._out.open_block(event.data["content_block"])
        elif assembler.content and assembler.content[-1].get("type") == "tool_use":
            return
        elif event.name == CONTENT_BLOCK_DELTA:
            self._out.delta(event.data["delta"])
        elif event.name == CONTENT_BLOCK_STOP:
            self._out.close_block()

    # -- calls

    async def _answer_calls(self, step: int, answer: Assembler, uses: Sequence[tuple[int, Json]]) -> bool:
        """Run the gateway's calls and hand the client's over. True when the client has calls to run."""
        for _, block in uses:
            block["id"] = fresh_call_id(block.get("id"), self._ids)
        planned: dict[str, PlannedCall] = {}
        for at, block in uses:
            who = self._facts.offer.disposition(str(block.get("name")))
            call = plan(block, block["id"], who, answer.bad_inputs.get(at))
            if who is Disposition.SHARED and call.tool is not None and call.input is not None:
                bench = self._open_bench()
                if bench is None or not call.tool.owns(call.input, bench):
                    who = Disposition.CLIENT
            if who is not Disposition.CLIENT:
                planned[call.id] = call
        self._check_repeats(uses)
        results = await self._run_planned(step, list(planned.values()))
        theirs = [block for _, block in uses if block["id"] not in planned]
        for block in theirs:
            hidden = local_effect_properties(str(block.get("name")))
            kept = {key: value for key, value in block["input"].items() if key not in hidden}
            self._out.tool_use({**block, "input": kept})
        if theirs:
            return True
        assistant = [block for block in answer.content if not _empty_text(block)]
        self._turn.progress.steps.append(
            FinishedStep(list(self._out.blocks[self._step_began :]), assistant, results, answer.usage)
        )
        self._messages += [_assistant(assistant), Message("user", [Block.of(result) for result in results])]
        return False

    async def _run_planned(self, step: int, calls: list[PlannedCall]) -> list[Json]:
        if not calls:
            return []
        if any(call.decision.allowed for call in calls):
            await self._bench()
        results: list[Json] = []
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._runner.run_all(calls))
            for call in calls:
                results.append(await self._show(step, call))
            await work
        return results

    async def _show(self, step: int, call: PlannedCall) -> Json:
        """Show the call while it runs, then send it with its result as a sealed pair."""
        view = display.OutputView()
        if self._facts.display:
            sandbox = self._sandbox_label()
            self._out.open_block({"type": "text", "text": "", MARK: DISPLAY_MARK})
            self._show_text(display.header(call.name, call.headline, sandbox))
        async for piece in call.output():
            self._show_text(view.feed(piece))
        assert call.result is not None
        if self._facts.display:
            if view.empty:
                self._show_text(view.feed(call.result.text))
            self._show_text(view.finish())
            self._out.close_block()
        done = Call(call.id, call.name, call.arguments, call.result.content, call.result.is_error, step)
        for block in self._pairs.make(done, call.result.code):
            self._out.whole_block(block)
        return done.tool_result()

    def _show_text(self, text: str) -> None:
        if text and self._facts.display:
            self._out.delta({"type": "text_delta", "text": text})

    async def _bench(self) -> Workbench:
        facts = self._facts
        session = await self._services.sessions.get(facts.session, facts.workspace)
        return self._services.workbenches.of(session, facts.agent, facts.directory)

    def _open_bench(self) -> Workbench | None:
        """The workbench if the session is open: a shared call does not open one."""
        session = self._services.sessions.peek(self._facts.session)
        if session is None:
            return None
        return self._services.workbenches.of(session, self._facts.agent, self._facts.directory)

    def _sandbox_label(self) -> str:
        session = self._services.sessions.peek(self._facts.session)
        return session.label if session is not None else "not opened"

    # -- ends

    async def _finish(self, stop_reason: str | None, answer: Assembler) -> str | None:
        if stop_reason != "tool_use" and self._iterations[1:] and not self._out.ends_with_text:
            self._out.text("(The model ended its turn without further text.)")
        await self._settle()
        self._out.finish(stop_reason, self._usage(), answer.message)
        return stop_reason

    async def _limited(self, limit: LimitReached) -> str:
        await self._record(
            "limit.reached",
            {"turn": self._facts.turn_id, "limit": limit.limit, "value": limit.value, "message": limit.text},
        )
        self._out.start()
        self._out.text(f"[Bulkhead] {limit.text} Send another message to go on.")
        await self._settle()
        self._out.finish("end_turn", self._usage())
        return "end_turn"

    async def _settle(self) -> None:
        """Results of calls are on disk before the client is told that the turn ended well."""
        if self._runner.count:
            await self._services.audit.flush()

    def _usage(self) -> Json:
        """Input counts of the last call, which say how full the context is; output of all calls."""
        if not self._iterations:
            return {"input_tokens": 0, "output_tokens": 0}
        last = self._iterations[-1]
        if len(self._iterations) == 1:
            return last
        output = sum(int(one.get("output_tokens") or 0) for one in self._iterations)
        listed = [{"type": "message", **one} for one in self._iterations]
        return {**last, "output_tokens": output, "iterations": listed}

    def _replay(self) -> None:
        """What an earlier attempt at this turn finished is sent again, not done again."""
        for done in self._turn.progress.steps:
            self._out.start()
            for block in done.shown:
                self._out.replay(block)
            self._iterations.append(done.usage)
            results = [Block.of(result) for result in done.results]
            self._messages += [_assistant(done.assistant), Message("user", results)]
        self._ids |= call_ids(self._messages)

    def _check_budget(self, step: int) -> None:
        limits = self._services.limits
        if step > limits.steps:
            text = f"This turn was stopped after {limits.steps} model calls, the most a turn may take here."
            raise LimitReached("max_steps", limits.steps, text)
        output = sum(int(one.get("output_tokens") or 0) for one in self._iterations)
        if limits.output_tokens is not None and output >= limits.output_tokens:
            text = f"This turn was stopped after {output} output tokens; {limits.output_tokens} are allowed here."
            raise LimitReached("max_turn_output_tokens", limits.output_tokens, text)

    def _check_repeats(self, uses: Sequence[tuple[int, Json]]) -> None:
        calls = [[block.get("name"), block.get("input")] for _, block in uses]
        signature = sha256(msgspec.json.encode(calls, order="deterministic")).hexdigest()
        last, times = self._last_calls
        times = times + 1 if signature == last else 1
        self._last_calls = (signature, times)
        if times > self._services.limits.repeats:
            name = uses[0][1].get("name")
            text = (
                f"This turn was stopped because the model made the same {name} call {times} times in a row."
            )
            raise LimitReached("max_repeats", self._services.limits.repeats, text)

    def _answer(self, failure: Exception) -> ApiError:
        """What the client is told of a failure."""
        cause: BaseException = failure
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, ApiError):
            return cause
        if isinstance(cause, UpstreamFailure):
            return cause.answer
        if isinstance(cause, AuditUnavailable):
            return ApiError(500, "api_error", f"Nothing was run: {cause}.", headers=NO_RETRY)
        if isinstance(cause, WorkspaceRefused):
            return ApiError(
                400, "invalid_request_error", f"The workspace cannot be used: {cause}", headers=NO_RETRY
            )
        if isinstance(cause, SandboxUnavailable) and cause.reason == "busy":
            return ApiError(529, "overloaded_error", str(cause))
        if isinstance(cause, SandboxError):
            return ApiError(500, "api_error", f"No sandbox could be opened: {cause}", headers=NO_RETRY)
        log.error("turn_failed", turn=self._facts.turn_id, exc_info=cause)
        return ApiError(
            500,
            "api_error",
            f"The gateway failed on this turn; its log names request {self._facts.request_id}.",
        )

    # -- records

    def _about(self) -> dict[str, str | None]:
        session = self._services.sessions.peek(self._facts.session)
        return {
            "session": session.id if session is not None else None,
            "principal": self._facts.session.subject,
        }

    async def _record(self, kind: str, body: Json) -> None:
        about = self._about()
        await self._services.audit.record(kind, session=about["session"], principal=about["principal"], body=body)

    def _opening(self) -> Json:
        facts = self._facts
        return {
            "turn": facts.turn_id,
            "model": facts.request.model,
            "client": facts.client,
            "agent": facts.agent,
            "stream": facts.request.stream,
            "messages": len(facts.request.messages),
            "digest": self._turn.key.digest if self._turn.key is not None else None,
            "resumed_steps": len(self._turn.progress.steps),
        }

    def _closing(self, stop_reason: str | None, error: ApiError | None) -> Json:
        total: Json = {}
        for one in self._iterations:
            total = counts.add(total, one)
        return {
            "turn": self._facts.turn_id,
            "stop_reason": stop_reason,
            "steps": len(self._iterations),
            "calls": self._runner.count,
            "input_tokens": total.get("input_tokens"),
            "output_tokens": total.get("output_tokens"),
            "ms": round((time.monotonic() - self._started) * 1000, 1),
            "error": f"{error.type}: {error.message}" if error is not None else None,
        }

    def _call_facts(self, step: int, body: bytes) -> Json:
        return {
            "turn": self._facts.turn_id,
            "step": step,
            "provider": self._services.provider.name,
            "model": self._facts.request.model,
            "messages": len(self._messages),
            "bytes": len(body),
            "digest": sha256(body).hexdigest(),
        }


def _assistant(content: Sequence[Json]) -> Message:
    return Message("assistant", [Block.of(block) for block in content])


def _empty_text(block: Json) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _model_result(turn_id: str, assembler: Assembler, started: float, problem: str | None) -> Json:
    counted = assembler.usage
    return {
        "turn": turn_id,
        "model": assembler.message.get("model"),
        "stop_reason": assembler.stop_reason,
        "input_tokens": counted.get("input_tokens"),
        "output_tokens": counted.get("output_tokens"),
        "cache_read_input_tokens": counted.get("cache_read_input_tokens"),
        "cache_creation_input_tokens": counted.get("cache_creation_input_tokens"),
        "ms": round((time.monotonic() - started) * 1000, 1),
        "error": problem,
    }
