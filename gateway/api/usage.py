"""GET /api/usage: what the caller's subject used, by key, model or day.

There are no operator roles yet: every key sees the usage of its own subject, of all the subject's keys.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of
from gateway.limits.calendar import period_of
from gateway.limits.report import day_of, usage_report
from gateway.messages.errors import InvalidRequest
from gateway.store.usage import Grouping

router = APIRouter(prefix="/api/usage")


@router.get("")
async def get_usage(
    request: Request,
    since: Annotated[str | None, Query(alias="from")] = None,
    until: Annotated[str | None, Query(alias="to")] = None,
    group_by: Grouping = "day",
) -> dict[str, Any]:
    """UTC days `from` to `to`, both included; default: the current month. At most a few seconds behind."""
    principal = await authenticate(request)
    now = period_of(time.time())
    first = _day("from", since, now.month_begin)
    last = _day("to", until, now.day)
    if first > last:
        raise InvalidRequest(f"from: {first} is after {last}")
    records = context_of(request).usage.records
    return await asyncio.to_thread(usage_report, records, group_by, first, last, principal.subject)


def _day(name: str, text: str | None, default: str) -> str:
    try:
        return default if text is None else day_of(text)
    except ValueError:
        raise InvalidRequest(f"{name}: Input should be a date like 2026-11-22") from None
