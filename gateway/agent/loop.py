"""One turn: sample, run what the gateway runs, feed back, until the model or a limit ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.agent import display
from gateway.agent.budget import Budget, LimitReached
from gateway.agent.calls import CallRunner, PlannedCall, plan
from gateway.agent.facts import TurnFacts, TurnLimits
from gateway.agent.failures import answer_of
from gateway.agent.history import call_ids
from gateway.agent.output import Output
from gateway.agent.pairs import Call, Pairs, fresh_call_id
from gateway.agent.progress import FinishedStep
from gateway.agent.records import TurnRecords
from gateway.agent.sampling import Meter, Sampler
from gateway.agent.turns import Turn
from gateway.audit.log import AuditLog
from gateway.messages.assemble import Assembler
from gateway.messages.blocks import Block, Message
from gateway.messages.errors import ApiError
from gateway.policy import Disposition, is_shared, local_effect_properties
from gateway.routing.router import Router
from gateway.sandbox.sessions import Sessions
from gateway.tools.workbench import Workbench, Workbenches

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Services:
    """What a turn works with."""

    router: Router
    sessions: Sessions
    workbenches: Workbenches
    audit: AuditLog
    limits: TurnLimits


class TurnRun:
    """Runs one turn to its end; `run` is the turn's task."""

    def __init__(self, facts: TurnFacts, turn: Turn, services: Services, pairs: Pairs, meter: Meter) -> None:
        self._facts = facts
        self._turn = turn
        self._services = services
        self._pairs = pairs
        self._out = Output(turn.log, facts.request.model)
        self._records = TurnRecords(facts, services.audit, services.sessions, services.router.name)
        self._sampler = Sampler(facts, services.router, self._out, self._records, meter)
        self._budget = Budget(services.limits)
        self._runner = CallRunner(facts, services.audit, self._bench)
        self._messages: list[Message] = list(facts.messages)
        self._ids = call_ids(self._messages)

    async def run(self) -> None:
        """Write the whole turn to its log. Raises only when cancelled."""
        error: ApiError | None = ApiError(500, "api_error", "The turn was cancelled.")
        stop_reason: str | None = None
        try:
            await self._records.turn_started(len(self._turn.progress.steps))
            stop_reason = await self._with_heartbeat()
            error = None
        except Exception as failure:  # noqa: BLE001 - the one place where a turn's failure becomes an answer
            error = answer_of(failure, self._facts.request_id)
        finally:
            if error is not None:
                self._out.fail(error, self._facts.request_id)
            await self._records.turn_ended(stop_reason, self._budget.iterations, self._runner.count, error)

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
                return await self._limited(self._budget.out_of_time())
            except LimitReached as limit:
                return await self._limited(limit)
            finally:
                beat.cancel()

    async def _beat(self) -> None:
        """Keep watchdogs quiet: nothing silent for longer than the heartbeat."""
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
            self._budget.check_step(step)
            began = len(self._out.blocks)
            answer = await self._sampler.sample(step, self._messages)
            self._budget.iterations.append(answer.usage)
            calls = _calls_of(answer)
            if not calls and answer.stop_reason == "pause_turn":
                self._messages.append(_assistant(answer.content))
            elif not calls:
                return await self._finish(answer.stop_reason, answer)
            elif await self._answer_calls(step, answer, calls, began):
                return await self._finish("tool_use", answer)

    # -- calls

    async def _answer_calls(self, step: int, answer: Assembler, calls: Sequence[tuple[int, Json]], began: int) -> bool:
        """Run the gateway's calls, hand the client's over. True when the client has calls to run.

        `began` is where this step's blocks begin in what the client was sent.
        """
        self._budget.check_repeats([block for _, block in calls])
        planned: dict[str, PlannedCall] = {}
        for at, block in calls:
            block["id"] = fresh_call_id(block.get("id"), self._ids)
            who = self._who_runs(block)
            if who is not Disposition.CLIENT:
                planned[block["id"]] = plan(block, block["id"], who, answer.bad_inputs.get(at))
        results = await self._run(step, list(planned.values()))
        theirs = [block for _, block in calls if block["id"] not in planned]
        for block in theirs:
            hidden = local_effect_properties(str(block.get("name")))
            self._out.call({**block, "input": {k: v for k, v in block["input"].items() if k not in hidden}})
        if theirs:
            return True
        kept = [block for block in answer.content if not _empty_text(block)]
        shown = list(self._out.blocks[began:])
        self._turn.progress.steps.append(FinishedStep(shown, kept, results, answer.usage))
        self._messages += [_assistant(kept), Message("user", [Block.of(result) for result in results])]
        return False

    def _who_runs(self, block: Json) -> Disposition:
        """Settled by the call itself where the tool is shared between gateway and client."""
        name = str(block.get("name"))
        return self._facts.offer.settled(name, started_here=is_shared(name) and self._names_our_job(block))

    def _names_our_job(self, block: Json) -> bool:
        session = self._services.sessions.peek(self._facts.session)
        call = plan(block, block["id"], Disposition.SHARED, None)
        if session is None or call.tool is None or call.input is None:
            return False
        bench = self._services.workbenches.of(session, self._facts.agent, self._facts.directory)
        return call.tool.owns(call.input, bench)

    async def _run(self, step: int, calls: list[PlannedCall]) -> list[Json]:
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
        if self._facts.display:
            self._out.open_display()
            self._out.show(display.header(call.name, call.headline, self._sandbox_label()))
        view = display.OutputView()
        async for piece in call.output():
            self._out.show(view.feed(piece))
        result = call.finished
        if view.empty:
            self._out.show(view.feed(result.text))
        self._out.show(view.finish())
        self._out.close_block()
        done = Call(call.id, call.name, call.arguments, result.content, result.is_error, step)
        for block in self._pairs.make(done, result.code):
            self._out.whole_block(block)
        return done.tool_result()

    async def _bench(self) -> Workbench:
        facts = self._facts
        session = await self._services.sessions.get(facts.session, facts.workspace)
        return self._services.workbenches.of(session, facts.agent, facts.directory)

    def _sandbox_label(self) -> str:
        session = self._services.sessions.peek(self._facts.session)
        return session.label if session is not None else "none"

    # -- ends

    async def _finish(self, stop_reason: str | None, answer: Assembler) -> str | None:
        if stop_reason != "tool_use" and len(self._budget.iterations) > 1 and not self._out.ends_with_text:
            # Claude Code asks again when a turn shows nothing but calls.
            self._out.text("(The model ended its turn without further text.)")
        await self._settle()
        self._turn.succeeded = True
        self._out.finish(stop_reason, self._usage(), answer.message)
        return stop_reason

    async def _limited(self, limit: LimitReached) -> str:
        await self._records.limit_reached(limit)
        self._out.start()
        self._out.text(f"[Bulkhead] {limit.text} Send another message to go on.")
        await self._settle()
        self._turn.succeeded = True
        self._out.finish("end_turn", self._usage())
        return "end_turn"

    def _usage(self) -> list[Json]:
        return self._budget.usage(reads_iterations=self._facts.reads_iterations)

    async def _settle(self) -> None:
        """What ran is on disk before the client is told that the turn ended well."""
        if self._runner.count:
            await self._records.settled()

    def _replay(self) -> None:
        """What an earlier attempt at this turn finished is sent again, not done again."""
        for done in self._turn.progress.steps:
            self._out.start()
            for block in done.shown:
                self._out.replay(block)
            self._budget.iterations.append(done.usage)
            self._messages += [_assistant(done.assistant), Message("user", [Block.of(one) for one in done.results])]
        self._ids |= call_ids(self._messages)


def _calls_of(answer: Assembler) -> list[tuple[int, Json]]:
    """The tool calls and their places. Of an answer cut off inside a call, none counts."""
    if answer.stop_reason == "max_tokens" and answer.bad_inputs:
        return []
    return [(at, block) for at, block in enumerate(answer.content) if block.get("type") == "tool_use"]


def _assistant(content: Sequence[Json]) -> Message:
    return Message("assistant", [Block.of(block) for block in content])


def _empty_text(block: Json) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()
