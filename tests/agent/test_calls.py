"""Intent before effect: a call runs only after its own intent is durable, and every intent gets a result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.agent.calls import CallRunner, PlannedCall
from gateway.agent.facts import TurnFacts
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import AuditLog
from gateway.policy import Decision, Outcome
from gateway.tools.base import Effect, Prepared, Show, Tool, ToolResult
from gateway.tools.inputs import BashInput
from gateway.tools.workbench import Workbench

FACTS = cast(TurnFacts, SimpleNamespace(turn_id="t", agent="", session=SimpleNamespace(subject="alice")))


class Log:
    """The audit log as a call sees it; refuses intents while `full`. `diary` is shared with the tool."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.full = False

    async def intent(self, kind: str, **_: Any) -> int:
        await asyncio.sleep(0)
        if self.full:
            raise AuditUnavailable("the disk is full")
        self.diary.append(kind)
        return 1

    async def record(self, kind: str, *, body: dict[str, Any], **_: Any) -> None:
        self.diary.append(f"{kind} {body['outcome']}")


class Writing(Prepared):
    def __init__(self, diary: list[str], result: ToolResult | Exception) -> None:
        super().__init__(self._run)
        self.diary = diary
        self.result = result

    async def drop(self) -> None:
        self.diary.append("dropped")

    async def _run(self, show: Show) -> ToolResult:
        self.diary.append("effect")
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Touch(Tool[BashInput]):
    name = "Touch"
    effect = Effect.WRITE
    input_type = BashInput

    def __init__(self, diary: list[str], result: ToolResult | Exception) -> None:
        self.prepared = Writing(diary, result)

    def headline(self, arguments: BashInput) -> str:
        return ""

    def prepare(self, arguments: BashInput, bench: Workbench) -> Prepared:
        return self.prepared

    async def run(self, arguments: BashInput, bench: Workbench, show: Show) -> ToolResult:
        return await self.prepared.run(show)


@contextlib.contextmanager
def _used() -> Iterator[None]:
    yield


async def _bench() -> Workbench:
    return cast(Workbench, SimpleNamespace(session=SimpleNamespace(id="s-1", in_use=_used), jobs={}))


async def run(log: Log, result: ToolResult | Exception) -> PlannedCall:
    allowed = Decision(Outcome.ALLOW, "sandboxed")
    call = PlannedCall("toolu_1", "Touch", {}, allowed, Touch(log.diary, result), BashInput("x"))
    await CallRunner(FACTS, cast(AuditLog, log), _bench).run_all([call])
    return call


@pytest.fixture
def log() -> Log:
    return Log([])


async def test_the_effect_stands_between_its_intent_and_its_result(log: Log) -> None:
    call = await run(log, ToolResult("done"))
    assert call.finished.content == "done"
    assert log.diary == ["tool.intent", "effect", "tool.result ok"]


async def test_without_a_durable_intent_there_is_no_effect_and_nothing_is_left(log: Log) -> None:
    log.full = True
    call = await run(log, ToolResult("done"))
    assert call.result is None
    assert log.diary == ["dropped"]
    failures = call.failure.exceptions if isinstance(call.failure, ExceptionGroup) else [call.failure]
    assert any(isinstance(failure, AuditUnavailable) for failure in failures)


async def test_a_tool_that_breaks_still_gets_its_result_recorded(log: Log) -> None:
    call = await run(log, RuntimeError("bug"))
    assert isinstance(call.failure, RuntimeError)
    assert log.diary == ["tool.intent", "effect", "tool.result error"]
