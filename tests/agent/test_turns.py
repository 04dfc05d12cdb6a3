"""Turns: joined while they run, replayed when they were not delivered, cancelled when nobody follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.agent.progress import FinishedStep
from gateway.agent.turns import Turn, TurnKey, TurnLog, Turns
from gateway.messages.errors import ApiError

KEY = TurnKey("alice", "s1", "", "d1")


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    made = Turns(grace_seconds=0.01)
    yield made
    await made.aclose()


class Script:
    """Work that writes what it is told to and counts how often it was started."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, turn: Turn) -> None:
        self.started += 1
        turn.log.append(b"first")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            turn.log.end(ApiError(500, message="cancelled"))
            self.cancelled.set()
            raise
        turn.log.append(b"last")
        turn.succeeded = True
        turn.log.end()


async def read(turns: Turns, turn: Turn) -> bytes:
    async with turns.follow(turn) as log:
        return b"".join([chunk async for chunk in log.read()])


async def test_a_second_request_joins_the_running_turn_and_sees_it_from_the_start(turns: Turns) -> None:
    script = Script()
    first = turns.start_or_join(KEY, script)
    reader = asyncio.create_task(read(turns, first))
    await first.log.wait_started()
    second = turns.start_or_join(KEY, script)
    assert second is first
    script.go_on.set()
    assert await read(turns, second) == b"firstlast"
    assert await reader == b"firstlast"
    assert script.started == 1


async def test_a_turn_that_was_never_delivered_is_replayed(turns: Turns) -> None:
    script = Script()
    script.go_on.set()
    turn = turns.start_or_join(KEY, script)
    assert await read(turns, turn) == b"firstlast"
    assert turns.start_or_join(KEY, script) is turn
    turn.delivered = True
    assert turns.start_or_join(KEY, script) is not turn


async def test_requests_without_a_key_never_share_a_turn(turns: Turns) -> None:
    script = Script()
    script.go_on.set()
    assert turns.start_or_join(None, script) is not turns.start_or_join(None, script)


async def test_another_conversation_session_or_subject_is_another_turn(turns: Turns) -> None:
    script = Script()
    turn = turns.start_or_join(KEY, script)
    for other in (
        TurnKey("bob", "s1", "", "d1"),
        TurnKey("alice", "s2", "", "d1"),
        TurnKey("alice", "s1", "a", "d1"),
        TurnKey("alice", "s1", "", "d2"),
    ):
        assert turns.start_or_join(other, script) is not turn


async def test_a_turn_nobody_follows_is_cancelled_after_the_grace_period(turns: Turns) -> None:
    script = Script()
    turn = turns.start_or_join(KEY, script)
    async with turns.follow(turn) as log:
        await log.wait_started()
    await asyncio.wait_for(script.cancelled.wait(), 5)


async def test_a_second_follower_within_the_grace_period_keeps_it_alive() -> None:
    turns = Turns(grace_seconds=3600)
    script = Script()
    turn = turns.start_or_join(KEY, script)
    async with turns.follow(turn) as log:
        await log.wait_started()
    assert turn.reaper is not None
    async with turns.follow(turn):
        assert turn.reaper is None
        script.go_on.set()
        assert [chunk async for chunk in turn.log.read()]
    await turns.aclose()
    assert not script.cancelled.is_set()


async def test_a_failed_turn_hands_its_finished_steps_to_the_next_attempt(turns: Turns) -> None:
    seen: list[int] = []

    async def work(turn: Turn) -> None:
        seen.append(len(turn.progress.steps))
        turn.progress.steps.append(FinishedStep([], [], [], {}))
        turn.log.end(ApiError(529, message="overloaded"))

    for _ in range(3):
        await read(turns, turns.start_or_join(KEY, work))
    assert seen == [0, 1, 2]


async def test_a_turn_that_ended_well_hands_nothing_on(turns: Turns) -> None:
    seen: list[int] = []

    async def work(turn: Turn) -> None:
        seen.append(len(turn.progress.steps))
        turn.progress.steps.append(FinishedStep([], [], [], {}))
        turn.succeeded = turn.delivered = True
        turn.log.end()

    for _ in range(2):
        await read(turns, turns.start_or_join(KEY, work))
    assert seen == [0, 0]


async def test_closing_cancels_what_runs(turns: Turns) -> None:
    script = Script()
    turn = turns.start_or_join(KEY, script)
    await turn.log.wait_started()
    await turns.aclose()
    assert script.cancelled.is_set()
    assert turns.running == 0


async def test_a_log_that_ends_with_an_error_before_any_event_has_no_chunks() -> None:
    log = TurnLog()
    log.end(ApiError(400, message="no"))
    await log.wait_started()
    assert [chunk async for chunk in log.read()] == []
    assert log.error is not None
