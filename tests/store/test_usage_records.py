"""Usage adds up in the store, whoever writes it, and is summed for reports and budgets."""

import pytest
import sqlalchemy as sa

from gateway.store.keys import Keys
from gateway.store.usage import IDS_AT_ONCE, Spent, UsageRecords, UsageRow

ROW = UsageRow("k1", "2026-11-22", "m1", "alice", 1, 10, 20, 1000, 5, 0, 700)


@pytest.fixture
def records(engine: sa.Engine) -> UsageRecords:
    return UsageRecords(engine)


def row(key: str, day: str, model: str, subject: str, tokens: int, nanos: int) -> UsageRow:
    return UsageRow(key, day, model, subject, requests=1, input_tokens=tokens, cost_nanos=nanos)


@pytest.fixture
def several(records: UsageRecords) -> UsageRecords:
    records.add(
        [
            row("k1", "2026-10-31", "m1", "alice", 1, 1),
            row("k1", "2026-11-01", "m1", "alice", 2, 10),
            row("k1", "2026-11-01", "m2", "alice", 4, 100),
            row("k2", "2026-11-02", "m2", "alice", 8, 1000),
            row("k3", "2026-11-02", "m2", "bob", 16, 10_000),
        ]
    )
    return records


def test_rows_of_one_place_add_up_and_nothing_to_add_is_fine(records: UsageRecords) -> None:
    records.add([])
    records.add([ROW])
    records.add([ROW, ROW])
    [found] = records.summed("model", "2026-11-22", "2026-11-22")
    assert (found.requests, found.input_tokens, found.output_tokens) == (3, 30, 60)
    assert (found.cache_read_tokens, found.cache_write_tokens, found.cost_nanos) == (3000, 15, 2100)


def test_a_batch_is_stored_whole_or_not_at_all(records: UsageRecords) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        records.add([ROW, UsageRow("k1", "2026-11-22", "m2", None)])  # type: ignore[arg-type]
    assert records.summed("day", "0000-01-01", "9999-12-31") == []


def test_budgets_count_all_but_cache_reads(records: UsageRecords) -> None:
    records.add([ROW])
    assert records.spent("2026-11-01") == [Spent("k1", "2026-11-22", 35, 700)]


def test_what_was_spent_is_told_by_key_and_day_from_a_day_on(several: UsageRecords) -> None:
    assert several.spent("2026-11-01", ["k1", "k1", "nobody"]) == [Spent("k1", "2026-11-01", 6, 110)]
    assert {one.key_id for one in several.spent("2026-11-01")} == {"k1", "k2", "k3"}
    many = ["k1", *(f"x{number}" for number in range(2 * IDS_AT_ONCE))]
    assert several.spent("2026-11-01", many) == [Spent("k1", "2026-11-01", 6, 110)]
    assert several.spent("2026-11-01", []) == []


def test_sums_by_day_come_in_order_and_others_by_cost(several: UsageRecords) -> None:
    days = several.summed("day", "2026-11-01", "2026-11-30")
    assert [(one.group, one.input_tokens) for one in days] == [("2026-11-01", 6), ("2026-11-02", 24)]
    models = several.summed("model", "2026-10-01", "2026-11-30")
    assert [(one.group, one.cost_nanos) for one in models] == [("m2", 11_100), ("m1", 11)]
    assert [one.group for one in several.summed("key", "2026-11-02", "2026-11-02")] == ["k3", "k2"]


def test_sums_can_be_narrowed_to_a_subject(several: UsageRecords) -> None:
    found = several.summed("key", "2026-01-01", "2026-12-31", "alice")
    assert [(one.group, one.subject, one.requests) for one in found] == [("k2", "alice", 1), ("k1", "alice", 3)]


def test_a_key_is_told_by_its_name_where_it_is_known(engine: sa.Engine, records: UsageRecords) -> None:
    key, _ = Keys(engine).create("laptop", "alice")
    records.add([row(key.id, "2026-11-22", "m", "alice", 1, 2), row("gone", "2026-11-22", "m", "alice", 1, 1)])
    found = records.summed("key", "2026-11-22", "2026-11-22")
    assert [(one.group, one.name) for one in found] == [(key.id, "laptop"), ("gone", "")]
