"""What keys used, by UTC day and model: added to in batches, summed up for reports and for budgets.

Several gateways may share a store: rows are added to, never replaced, so that their counts add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from gateway.store.engine import reading, writing
from gateway.store.tables import api_keys, usage

__all__ = ["COUNTERS", "Grouping", "Spent", "UsageRecords", "UsageRow", "UsageSum"]

Grouping = Literal["key", "model", "day"]

COUNTERS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "unpriced_tokens",
    "cost_nanos",
)
"""The columns that add up."""

IDS_AT_ONCE = 500
"""Key ids in one query, below SQLite's limit of bound values."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Counts of one key with one model on one day. `day` is `2026-11-22`. `input_tokens` are without the two
    cache counts. `unpriced_tokens`: those of all kinds that no price was known for. `cost_nanos`: billionths
    of a US dollar."""

    key_id: str
    day: str
    model: str
    subject: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    unpriced_tokens: int = 0
    cost_nanos: int = 0


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The sum of a group of rows. `group` is the key's id, the model or the day; `name` and `subject` are
    those of the key when grouped by key, else ""."""

    group: str
    name: str
    subject: str
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    unpriced_tokens: int
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one key used on one day, of what budgets count: tokens without cache reads, and money."""

    key_id: str
    day: str
    tokens: int
    cost_nanos: int


class UsageRecords:
    """The usage of one store. Calls block."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, rows: Sequence[UsageRow]) -> None:
        """Add to what is stored: all of the rows or none, in one commit."""
        if not rows:
            return
        added = insert(usage)
        sums = {name: usage.c[name] + added.excluded[name] for name in COUNTERS}
        statement = added.on_conflict_do_update(index_elements=["key_id", "day", "model"], set_=sums)
        with writing(self._engine) as connection:
            connection.execute(statement, [asdict(row) for row in rows])

    def spent(self, since: str, keys: Iterable[str] | None = None) -> list[Spent]:
        """Per key and day from `since` on; of all keys, or of these."""
        budgeted = usage.c.input_tokens + usage.c.cache_write_tokens + usage.c.output_tokens
        query = (
            sa.select(usage.c.key_id, usage.c.day, sa.func.sum(budgeted), sa.func.sum(usage.c.cost_nanos))
            .where(usage.c.day >= since)
            .group_by(usage.c.key_id, usage.c.day)
        )
        wanted = None if keys is None else sorted(set(keys))
        found: list[Spent] = []
        with reading(self._engine) as connection:
            if wanted is None:
                return [Spent(*row) for row in connection.execute(query)]
            for begin in range(0, len(wanted), IDS_AT_ONCE):
                some = query.where(usage.c.key_id.in_(wanted[begin : begin + IDS_AT_ONCE]))
                found += [Spent(*row) for row in connection.execute(some)]
        return found

    def summed(self, by: Grouping, since: str, until: str, subject: str | None = None) -> list[UsageSum]:
        """Sums of the days `since` to `until`, both included: by day in order, else the most expensive first."""
        column = {"key": usage.c.key_id, "model": usage.c.model, "day": usage.c.day}[by]
        totals = [sa.func.sum(usage.c[name]).label(name) for name in COUNTERS]
        name: sa.ColumnElement[str] = sa.literal("")
        owner: sa.ColumnElement[str] = sa.literal("")
        source: sa.FromClause = usage
        if by == "key":
            source = usage.outerjoin(api_keys, api_keys.c.id == usage.c.key_id)
            name = sa.func.coalesce(sa.func.max(api_keys.c.name), "")
            owner = sa.func.max(usage.c.subject)
        query = (
            sa.select(column.label("group"), name.label("name"), owner.label("subject"), *totals)
            .select_from(source)
            .where(usage.c.day.between(since, until))
            .group_by(column)
        )
        if subject is not None:
            query = query.where(usage.c.subject == subject)
        query = query.order_by(column) if by == "day" else query.order_by(sa.desc("cost_nanos"), column)
        with reading(self._engine) as connection:
            return [UsageSum(**row) for row in connection.execute(query).mappings()]
