"""The counters of one key: what it may do, what it has saved up, how much of it is running."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from gateway.limits.bucket import Bucket
from gateway.limits.calendar import Period
from gateway.limits.ledger import Totals
from gateway.limits.prices import NANOS
from gateway.store.keylimits import UNLIMITED, KeyLimits
from gateway.store.keys import Principal

__all__ = ["Account", "Budget", "Standing"]

MOST_REMEMBERED = 256
_LONGEST_MODEL = 300


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of tokens, or of nanos of a dollar, for a day or a month."""

    amount: float
    money: bool
    monthly: bool

    def used(self, totals: Totals) -> int:
        if self.monthly:
            return totals.month_nanos if self.money else totals.month_tokens
        return totals.day_nanos if self.money else totals.day_tokens

    def resets(self, period: Period) -> float:
        """UNIX seconds of when it begins anew."""
        return period.month_ends if self.monthly else period.day_ends


@dataclass(frozen=True, slots=True)
class Standing:
    """The budget that is used up most: `share` of it, and when it begins anew."""

    share: float
    resets: float


class Account:
    """One key. Follows its limits when they change; what was used stays used."""

    __slots__ = ("_allowed", "_given", "active", "budgets", "concurrent", "name", "patterns", "requests", "tokens")

    _given: KeyLimits
    _allowed: dict[str, bool]
    budgets: tuple[Budget, ...]
    concurrent: float
    patterns: tuple[str, ...] | None

    def __init__(self, principal: Principal, defaults: KeyLimits, now: float) -> None:
        self.active = 0
        """Tickets not closed yet."""
        self.name = principal.name
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self._set(principal.limits, defaults, now)

    def follow(self, given: KeyLimits, defaults: KeyLimits, now: float) -> None:
        """Take over other limits. Costs nothing while they are the same object."""
        if given is not self._given:
            if given == self._given:
                self._given = given
            else:
                self._set(given, defaults, now)

    def allows(self, model: str) -> bool:
        """Whether the key may use a model of that name."""
        if self.patterns is None:
            return True
        if len(model) > _LONGEST_MODEL:
            return False
        allowed = self._allowed.get(model)
        if allowed is None:
            if len(self._allowed) >= MOST_REMEMBERED:
                self._allowed.clear()
            allowed = self._allowed[model] = any(fnmatchcase(model, one) for one in self.patterns)
        return allowed

    def exhausted(self, totals: Totals) -> Budget | None:
        """The budget that is used up, if one is; of several the one that lasts longer."""
        for budget in self.budgets:
            if budget.used(totals) >= budget.amount:
                return budget
        return None

    def standing(self, totals: Totals, period: Period) -> Standing | None:
        """None for a key without a budget."""
        shares = [Standing(one.used(totals) / one.amount, one.resets(period)) for one in self.budgets]
        return max(shares, key=lambda standing: standing.share, default=None)

    def _set(self, given: KeyLimits, defaults: KeyLimits, now: float) -> None:
        limits = given.over(defaults)
        self._given = given
        self._allowed = {}
        self.patterns = None if limits.models is None or "*" in limits.models else limits.models
        self.concurrent = UNLIMITED if limits.concurrent_requests is None else limits.concurrent_requests
        self.requests = _bucket(self.requests, limits.requests_per_minute, now)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute, now)
        self.budgets = _budgets(limits)


def _budgets(limits: KeyLimits) -> tuple[Budget, ...]:
    amounts = (
        (limits.usd_per_month, True, True),
        (limits.tokens_per_month, False, True),
        (limits.usd_per_day, True, False),
        (limits.tokens_per_day, False, False),
    )
    return tuple(
        Budget(amount * NANOS if money else amount, money, monthly)
        for amount, money, monthly in amounts
        if amount is not None and amount != UNLIMITED
    )


def _bucket(bucket: Bucket | None, capacity: float | None, now: float) -> Bucket | None:
    if capacity is None or capacity == UNLIMITED:
        return None
    if bucket is None:
        return Bucket(capacity, now)
    if bucket.capacity != capacity:
        bucket.resize(capacity, now)
    return bucket
