"""Usage as it is told: the same fields for the API and the command line, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from gateway.limits.prices import NANOS
from gateway.store.usage import COUNTERS, Grouping, UsageRecords, UsageSum

__all__ = ["FIELDS", "day_of", "usage_report"]

FIELDS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "unpriced_tokens",
    "cost_usd",
)
"""The numbers of each row, in order."""


def day_of(text: str) -> str:
    """A UTC date like `2026-11-22`, checked. Raises `ValueError`."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(f"{text!r} is not a date like 2026-11-22")
    return text


def usage_report(
    records: UsageRecords, by: Grouping, since: str, until: str, subject: str | None = None
) -> dict[str, Any]:
    """`{from, to, group_by, data: [...], total}`: days `since` to `until`, both included. Blocks.

    `cost_usd` counts only tokens with a known price; `unpriced_tokens` says how many had none.
    """
    rows = records.summed(by, since, until, subject)
    return {
        "from": since,
        "to": until,
        "group_by": by,
        "data": [_row(row, by) for row in rows],
        "total": _total(rows),
    }


def _row(row: UsageSum, by: Grouping) -> dict[str, Any]:
    named: dict[str, str] = {by: row.group}
    if by == "key":
        named |= {"name": row.name, "subject": row.subject}
    return {**named, **_numbers({name: getattr(row, name) for name in COUNTERS})}


def _total(rows: Sequence[UsageSum]) -> dict[str, Any]:
    return _numbers({name: sum(getattr(row, name) for row in rows) for name in COUNTERS})


def _numbers(counters: dict[str, int]) -> dict[str, Any]:
    nanos = counters.pop("cost_nanos")
    return {**counters, "cost_usd": nanos / NANOS}
