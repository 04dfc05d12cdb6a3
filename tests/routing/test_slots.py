"""Calls at one upstream: a limit, a queue in order, and an end to waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.routing.attempts import GatewayHeldBack
from gateway.routing.slots import Slots


@asynccontextmanager
async def held(slots: Slots) -> AsyncIterator[None]:
    await slots.take()
    try:
        yield
    finally:
        slots.give_back()


class Holder:
    """A task that holds a slot until told otherwise."""

    def __init__(self, slots: Slots) -> None:
        self.release = asyncio.Event()
        self.holding = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots))

    async def _run(self, slots: Slots) -> None:
        async with held(slots):
            self.holding.set()
            await self.release.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_are_given_back_in_the_order_of_the_queue() -> None:
    slots = Slots("one", 2)
    holders = [Holder(slots) for _ in range(4)]
    await settled()
    assert (slots.taken, slots.waiting) == (2, 2)
    assert [holder.holding.is_set() for holder in holders] == [True, True, False, False]
    holders[1].release.set()
    await settled()
    assert [holder.holding.is_set() for holder in holders] == [True, True, True, False]
    for holder in holders:
        holder.release.set()
    await asyncio.gather(*(holder.task for holder in holders))
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_whoever_waits_too_long_is_told_to_come_back() -> None:
    slots = Slots("one", 1, patience=0.01)
    holder = Holder(slots)
    await settled()
    with pytest.raises(GatewayHeldBack, match="no slot in"):
        async with held(slots):
            pass
    assert (slots.taken, slots.waiting) == (1, 0)
    holder.release.set()
    await holder.task
    assert slots.taken == 0


async def test_the_queue_is_no_longer_than_the_limit() -> None:
    slots = Slots("one", 1)
    holders = [Holder(slots) for _ in range(2)]
    await settled()
    with pytest.raises(GatewayHeldBack, match="queue is full"):
        async with held(slots):
            pass
    for holder in holders:
        holder.release.set()
    await asyncio.gather(*(holder.task for holder in holders))


async def test_whoever_leaves_the_queue_takes_no_slot_along() -> None:
    slots = Slots("one", 1)
    first, gone, last = (Holder(slots), None, None)
    await settled()
    gone = Holder(slots)
    await settled()
    gone.task.cancel()
    await settled()
    assert slots.waiting == 0
    last = Holder(slots)
    first.release.set()
    await settled()
    assert last.holding.is_set()
    last.release.set()
    await last.task
    assert slots.taken == 0


async def test_a_turn_that_comes_in_the_moment_of_leaving_goes_to_the_next() -> None:
    slots = Slots("one", 2)
    first, second = Holder(slots), Holder(slots)
    await settled()
    leaving, waiting = Holder(slots), Holder(slots)
    await settled()
    first.release.set()
    await first.task
    leaving.task.cancel()  # its turn was set, but it has not run since
    await settled()
    second.release.set()
    waiting.release.set()
    await asyncio.gather(second.task, waiting.task)
    await asyncio.wait({leaving.task})
    assert (slots.taken, slots.waiting) == (0, 0)
