"""What keys used: counted in memory at once, written to the store in batches, read back at the start.

Used from the event loop's thread only; the store is written by one worker thread at a time. A crash loses what
was counted since the last write: `FLUSH_SECONDS` and the time of one commit, at most. Several gateways may share
a store: after each write the totals of the keys in it are read again, so that a budget spent in another gateway
counts here no later than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.limits.calendar import Calendar, Period
from gateway.limits.counts import Counts
from gateway.store.usage import Spent, UsageRecords, UsageRow

__all__ = ["FLUSH_SECONDS", "OTHER_MODELS", "Totals", "UsageLedger"]

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 2.0
MODELS_A_DAY = 200
"""Names of models come from clients: further ones of a key on one day are counted together."""
OTHER_MODELS = "(other models)"
_LONGEST_NAME = 200
_NO_TOKENS = Counts()


@dataclass(slots=True)
class Totals:
    """What one key used of its budgets in the current day and month, stored or not."""

    day: str = ""
    month: str = ""
    day_tokens: int = 0
    day_nanos: int = 0
    month_tokens: int = 0
    month_nanos: int = 0
    models: set[str] = field(default_factory=set)

    def roll(self, period: Period) -> None:
        """Begin anew with a new day or month."""
        if self.day != period.day:
            self.day, self.day_tokens, self.day_nanos = period.day, 0, 0
            self.models.clear()
        if self.month != period.month_begin:
            self.month, self.month_tokens, self.month_nanos = period.month_begin, 0, 0

    def add(self, tokens: int, nanos: int, day: str) -> None:
        """Usage of `day`, which is in the current month."""
        if day == self.day:
            self.day_tokens += tokens
            self.day_nanos += nanos
        self.month_tokens += tokens
        self.month_nanos += nanos


@dataclass(slots=True)
class _Pending:
    """Counts that are not stored yet; the fields are those of `UsageRow`."""

    subject: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    unpriced_tokens: int = 0
    cost_nanos: int = 0

    def add(self, row: _Pending | UsageRow) -> None:
        self.requests += row.requests
        self.input_tokens += row.input_tokens
        self.output_tokens += row.output_tokens
        self.cache_read_tokens += row.cache_read_tokens
        self.cache_write_tokens += row.cache_write_tokens
        self.unpriced_tokens += row.unpriced_tokens
        self.cost_nanos += row.cost_nanos

    @property
    def limited_tokens(self) -> int:
        return self.input_tokens + self.cache_write_tokens + self.output_tokens

    def row(self, key_id: str, day: str, model: str) -> UsageRow:
        return UsageRow(
            key_id,
            day,
            model,
            self.subject,
            self.requests,
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.unpriced_tokens,
            self.cost_nanos,
        )


_Place = tuple[str, str, str]
"""Key id, day, model."""


class UsageLedger:
    """The usage of all keys of one gateway."""

    def __init__(
        self, records: UsageRecords, *, clock: Callable[[], float] = time.time, every: float = FLUSH_SECONDS
    ) -> None:
        self._records = records
        self._clock = clock
        self._every = every
        self._calendar = Calendar()
        self._totals: dict[str, Totals] = {}
        self._pending: dict[_Place, _Pending] = {}
        self._writing: asyncio.Task[bool] | None = None
        self._stopped = asyncio.Event()

    @property
    def records(self) -> UsageRecords:
        """What is stored; at most `FLUSH_SECONDS` behind."""
        return self._records

    def load(self) -> None:
        """Read this month's totals of every key. Blocks; call it before the first request."""
        period = self._calendar.at(self._clock())
        self._take_in(self._records.spent(period.month_begin), ())

    def totals(self, key_id: str, now: float) -> tuple[Totals, Period]:
        """What a key used up to `now`, and in which day and month that is."""
        period = self._calendar.at(now)
        totals = self._totals.get(key_id)
        if totals is None:
            totals = self._totals[key_id] = Totals()
        totals.roll(period)
        return totals, period

    def note(
        self,
        key_id: str,
        subject: str,
        model: str,
        now: float,
        *,
        requests: int = 0,
        counts: Counts = _NO_TOKENS,
        nanos: int = 0,
        priced: bool = True,
    ) -> None:
        """Count ended requests, or the tokens of one model call. `model` may be any text."""
        totals, period = self.totals(key_id, now)
        place = (key_id, period.day, _name(model, totals))
        pending = self._pending.get(place)
        if pending is None:
            pending = self._pending[place] = _Pending(subject)
        pending.requests += requests
        pending.input_tokens += counts.input
        pending.output_tokens += counts.output
        pending.cache_read_tokens += counts.cache_read
        pending.cache_write_tokens += counts.cache_write
        pending.cost_nanos += nanos
        if not priced:
            pending.unpriced_tokens += counts.total
        totals.add(counts.limited, nanos, period.day)

    async def run(self) -> None:
        """Write now and then, until `aclose`."""
        while not self._stopped.is_set():
            try:
                await asyncio.wait_for(self._stopped.wait(), self._every)
            except TimeoutError:
                await self.flush()

    async def flush(self) -> bool:
        """Store everything noted so far. False if it could not be: it is kept, for the next try."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
        if self._writing is None and self._pending:
            # A task of its own: whoever waits may be cancelled, but a commit is not to be done twice.
            self._writing = asyncio.create_task(self._write())
        return await asyncio.shield(self._writing) if self._writing is not None else True

    async def aclose(self) -> None:
        """Store the rest. Idempotent."""
        self._stopped.set()
        if not await self.flush():
            log.error("usage_lost", rows=len(self._pending))

    async def _write(self) -> bool:
        taken, self._pending = self._pending, {}
        rows = [counts.row(*place) for place, counts in taken.items()]
        try:
            spent = await asyncio.to_thread(self._store, rows, self._calendar.at(self._clock()).month_begin)
        except (SQLAlchemyError, OSError) as error:
            log.warning("usage_not_stored", rows=len(rows), error=str(error))
            for place, counts in taken.items():
                self._pending.setdefault(place, _Pending(counts.subject)).add(counts)
            return False
        else:
            self._take_in(spent, {row.key_id for row in rows})
            return True
        finally:
            self._writing = None

    def _store(self, rows: list[UsageRow], since: str) -> list[Spent]:
        self._records.add(rows)
        return self._records.spent(since, {row.key_id for row in rows})

    def _take_in(self, spent: Iterable[Spent], keys: Iterable[str]) -> None:
        """Totals from the store, and on top what is not stored yet."""
        period = self._calendar.at(self._clock())
        fresh: dict[str, Totals] = {key: self._fresh(key, period) for key in keys}
        for one in spent:
            totals = fresh.get(one.key_id)
            if totals is None:
                totals = fresh[one.key_id] = self._fresh(one.key_id, period)
            if one.day >= period.month_begin:
                totals.add(one.tokens, one.cost_nanos, one.day)
        for (key_id, day, _), counts in self._pending.items():
            if key_id in fresh and day >= period.month_begin:
                fresh[key_id].add(counts.limited_tokens, counts.cost_nanos, day)
        self._totals.update(fresh)

    def _fresh(self, key_id: str, period: Period) -> Totals:
        totals = Totals()
        totals.roll(period)
        known = self._totals.get(key_id)
        if known is not None and known.day == period.day:
            totals.models = known.models
        return totals


def _name(model: str, totals: Totals) -> str:
    name = model[:_LONGEST_NAME]
    if not name.isprintable():
        name = "".join(character if character.isprintable() else "?" for character in name)
    if name not in totals.models:
        if len(totals.models) >= MODELS_A_DAY:
            return OTHER_MODELS
        totals.models.add(name)
    return name
