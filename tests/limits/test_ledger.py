"""What was used is counted exactly, written in batches, and still known after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from standing_clock import Clock

from gateway.limits.admission import Admission, Ticket
from gateway.limits.counts import Counts
from gateway.limits.ledger import MODELS_A_DAY, OTHER_MODELS, UsageLedger
from gateway.limits.prices import Prices
from gateway.messages.errors import ApiError
from gateway.store.engine import close_store, open_store
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import Principal
from gateway.store.usage import UsageRecords, UsageRow

MODEL = "claude-opus-4-8"
Holder = Callable[..., Principal]


def stored(records: UsageRecords) -> list[UsageRow]:
    with records._engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM usage ORDER BY key_id, day, model").mappings()
        return [UsageRow(**row) for row in rows]


async def test_a_ticket_may_be_used_several_times_and_counts_as_one_request(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder
) -> None:
    with admission.admit(holder(), "sonnet") as ticket:
        ticket.use(MODEL, {"input_tokens": 1000, "output_tokens": 10})
        ticket.use(MODEL, {"input_tokens": 2000, "output_tokens": 20, "cache_read_input_tokens": 5})
    assert await ledger.flush()
    cost = 3000 * 5000 + 30 * 25_000 + 5 * 500
    assert stored(records) == [UsageRow("k1", "2026-11-22", MODEL, "alice", 1, 3000, 30, 5, 0, 0, cost)]


async def test_a_request_that_failed_is_counted_without_tokens_under_the_name_it_asked_for(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder
) -> None:
    with pytest.raises(RuntimeError), admission.admit(holder(), "sonnet"):
        raise RuntimeError
    await ledger.flush()
    assert stored(records) == [UsageRow("k1", "2026-11-22", "sonnet", "alice", requests=1)]


async def test_tokens_without_a_price_cost_nothing_and_are_told_apart(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder
) -> None:
    with admission.admit(holder(), "qwen3") as ticket:
        ticket.use("qwen3", {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 90})
    await ledger.flush()
    [row] = stored(records)
    assert (row.cost_nanos, row.unpriced_tokens, row.input_tokens) == (0, 100, 7)


@pytest.mark.parametrize("usage", [None, [], "usage", 3, {}, {"input_tokens": "x", "cache_creation": 7}])
async def test_a_usage_that_says_nothing_is_nothing(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder, usage: Any
) -> None:
    with admission.admit(holder(), MODEL) as ticket:
        ticket.use(MODEL, usage)
    await ledger.flush()
    [row] = stored(records)
    assert (row.requests, row.input_tokens, row.cost_nanos) == (1, 0, 0)


async def test_usage_that_comes_after_the_end_still_counts(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder
) -> None:
    ticket = admission.admit(holder(), MODEL)
    ticket.close()
    ticket.use(MODEL, {"output_tokens": 4})
    ticket.close()
    await ledger.flush()
    [row] = stored(records)
    assert (row.requests, row.output_tokens, admission.active) == (1, 4, 0)


async def test_each_day_has_its_rows(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder, clock: Clock
) -> None:
    with admission.admit(holder(), MODEL) as ticket:
        ticket.use(MODEL, {"input_tokens": 1})
        clock.now += 86_400
        ticket.use(MODEL, {"input_tokens": 2})
    await ledger.flush()
    assert [(row.day, row.input_tokens, row.requests) for row in stored(records)] == [
        ("2026-11-22", 1, 0),
        ("2026-11-23", 2, 1),
    ]


async def test_names_of_models_can_neither_fill_the_store_nor_steer_a_terminal(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder
) -> None:
    with admission.admit(holder(), "\x1b[2J\ud800" + "x" * 10_000):
        pass
    for number in range(MODELS_A_DAY + 50):
        with admission.admit(holder(), f"m{number}"):
            pass
    assert await ledger.flush()
    rows = stored(records)
    assert len(rows) == MODELS_A_DAY + 1
    assert sum(row.requests for row in rows) == MODELS_A_DAY + 51
    assert {row.requests for row in rows if row.model == OTHER_MODELS} == {51}
    assert all(row.model.isprintable() and len(row.model) <= 200 for row in rows)


async def test_budgets_survive_a_restart(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder, clock: Clock
) -> None:
    principal = holder(usd_per_month=1)
    with admission.admit(principal, MODEL) as ticket:
        ticket.use(MODEL, {"input_tokens": 200_000})
    await ledger.aclose()
    after = UsageLedger(records, clock=clock)
    after.load()
    restarted = Admission(KeyLimits(), Prices.load(), after, clock=clock)
    with pytest.raises(ApiError, match=r"1\.00 of 1\.00 USD"):
        restarted.admit(principal, MODEL)
    clock.now += 10 * 86_400
    restarted.admit(principal, MODEL).close()


async def test_what_another_gateway_on_the_store_used_counts_after_the_next_write(
    admission: Admission, ledger: UsageLedger, records: UsageRecords, holder: Holder, clock: Clock
) -> None:
    principal = holder(tokens_per_day=100)
    other = UsageLedger(records, clock=clock)
    other.note("k1", "alice", MODEL, clock.now, counts=Counts(input=99))
    await other.flush()
    with admission.admit(principal, MODEL) as ticket:
        ticket.use(MODEL, {"input_tokens": 1})
    await ledger.flush()
    with pytest.raises(ApiError, match="100 of 100 tokens"):
        admission.admit(principal, MODEL)


async def test_what_is_used_during_a_write_is_not_lost_from_the_budget(
    ledger: UsageLedger, records: UsageRecords, clock: Clock
) -> None:
    ledger.note("k1", "alice", MODEL, clock.now, counts=Counts(input=1))
    writing = asyncio.create_task(ledger.flush())
    await asyncio.sleep(0)
    ledger.note("k1", "alice", MODEL, clock.now, counts=Counts(input=2))
    await writing
    totals, _ = ledger.totals("k1", clock.now)
    assert (totals.day_tokens, totals.month_tokens) == (3, 3)
    await ledger.aclose()
    assert [row.input_tokens for row in stored(records)] == [3]


async def test_what_cannot_be_stored_is_kept_and_stored_later(
    ledger: UsageLedger, records: UsageRecords, engine: sa.Engine, clock: Clock
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE usage RENAME TO away")
    ledger.note("k1", "alice", MODEL, clock.now, requests=1)
    assert not await ledger.flush()
    ledger.note("k1", "alice", MODEL, clock.now, requests=1)
    assert not await ledger.flush()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO usage")
    assert await ledger.flush()
    assert [row.requests for row in stored(records)] == [2]


async def test_a_flush_that_nobody_waits_for_any_more_is_not_done_twice(
    ledger: UsageLedger, records: UsageRecords, clock: Clock
) -> None:
    ledger.note("k1", "alice", MODEL, clock.now, requests=1)
    impatient = asyncio.create_task(ledger.flush())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await ledger.aclose()
    await ledger.aclose()
    assert [row.requests for row in stored(records)] == [1]


async def test_the_writer_writes_now_and_then_and_once_more_at_the_end(records: UsageRecords, clock: Clock) -> None:
    ledger = UsageLedger(records, clock=clock, every=0.001)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(ledger.run())
        ledger.note("k1", "alice", MODEL, clock.now, requests=1)
        while not stored(records):
            await asyncio.sleep(0.001)
        ledger.note("k1", "alice", MODEL, clock.now, requests=1)
        await ledger.aclose()
    assert [row.requests for row in stored(records)] == [2]


def test_counting_writes_nothing_by_itself(
    admission: Admission, holder: Holder, tmp_path: Path, records: UsageRecords
) -> None:
    with admission.admit(holder(), MODEL) as ticket:
        ticket.use(MODEL, {"input_tokens": 1})
    with sqlite3.connect(tmp_path / "bulkhead.db") as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (0,)
    connection.close()


COUNT = st.one_of(st.integers(0, 100_000), st.integers(), st.sampled_from([None, "7", -1, True, 2.5, "x", 10**40]))
STEP = st.one_of(
    st.tuples(st.just("admit"), st.integers(0, 2), st.sampled_from([MODEL, "claude-haiku-5-5", "foreign"])),
    st.tuples(st.just("use"), st.integers(0, 9), st.tuples(COUNT, COUNT, COUNT, COUNT)),
    st.tuples(st.just("close"), st.integers(0, 9), st.none()),
    st.tuples(st.just("wait"), st.integers(0, 40 * 86_400), st.none()),
    st.tuples(st.just("flush"), st.none(), st.none()),
)
KEYS = (
    Principal("alice", "a", "a", limits=KeyLimits(concurrent_requests=2, requests_per_minute=5)),
    Principal("alice", "b", "b", limits=KeyLimits(usd_per_day=1, tokens_per_minute=1000)),
    Principal("bob", "c", "c"),
)
NAMES = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_counters_never_go_below_zero_and_the_rows_add_up_to_what_was_used(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/bulkhead.db")
        try:
            asyncio.run(_walk(steps, UsageRecords(engine)))
        finally:
            close_store(engine)


async def _walk(steps: list[Any], records: UsageRecords) -> None:
    clock = Clock()
    ledger = UsageLedger(records, clock=clock)
    prices = Prices.load()
    admission = Admission(KeyLimits(), prices, ledger, clock=clock)
    tickets: list[tuple[Ticket, str]] = []
    open_tickets: set[int] = set()
    used = UsageRow("", "", "", "")
    for kind, which, what in steps:
        if kind == "admit":
            try:
                ticket = admission.admit(KEYS[which], what)
            except ApiError as error:
                assert error.status == 429
            else:
                tickets.append((ticket, what))
                open_tickets.add(len(tickets) - 1)
                used = replace(used, requests=used.requests + 1)
        elif kind == "wait":
            clock.now += which
        elif kind == "flush":
            assert await ledger.flush()
        elif tickets:
            at = which % len(tickets)
            ticket, model = tickets[at]
            if kind == "close":
                ticket.close()
                open_tickets.discard(at)
            else:
                usage = dict(zip(NAMES, what, strict=True))
                ticket.use(model, usage)
                used = _plus(used, usage, prices, model)
        assert admission.active == len(open_tickets)
        for ticket, _ in tickets:
            for name, value in ticket.headers.items():
                assert not value.startswith("-"), name
    for ticket, _ in tickets:
        ticket.close()
    assert admission.active == 0
    await ledger.aclose()
    rows = records.summed("key", "0000-01-01", "9999-12-31")
    for name in ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        assert sum(getattr(row, name) for row in rows) == getattr(used, name)
    assert sum(row.cost_nanos for row in rows) == used.cost_nanos
    assert sum(row.unpriced_tokens for row in rows) == used.unpriced_tokens


def _plus(used: UsageRow, usage: dict[str, Any], prices: Prices, model: str) -> UsageRow:
    """The expected sum, worked out apart from the code under test as far as possible."""
    tokens = [_plain(usage[name]) for name in NAMES]
    price = prices.of(model)
    cost = price.nanos(Counts(tokens[0], tokens[1], tokens[2], tokens[3])) if price is not None else 0
    return replace(
        used,
        input_tokens=used.input_tokens + tokens[0],
        output_tokens=used.output_tokens + tokens[1],
        cache_read_tokens=used.cache_read_tokens + tokens[2],
        cache_write_tokens=used.cache_write_tokens + tokens[3],
        unpriced_tokens=used.unpriced_tokens + (0 if price is not None else sum(tokens)),
        cost_nanos=used.cost_nanos + cost,
    )


def _plain(value: Any) -> int:
    if value is None or value is True or value == "x":
        return 0
    return min(10_000_000, max(0, int(value)))
