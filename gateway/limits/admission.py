"""The gate that every model request passes: a ticket, or a refusal in the client's terms.

In memory and synchronous; belongs to the event loop's thread. Must not know what a request asks for beyond its
model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import structlog

from gateway.limits import answers
from gateway.limits.account import Account
from gateway.limits.counts import counts_of
from gateway.limits.ledger import UsageLedger
from gateway.limits.prices import Prices
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import Principal

__all__ = ["Admission", "Ticket"]

log = structlog.get_logger(__name__)


class Admission:
    """Counts what keys do and refuses what is more than they may.

    Tokens and money are known only when an answer has come: a request is let in while something is left, and may
    go over. Limits travel with the principal, so a change counts as soon as the key is read again.
    """

    def __init__(
        self, defaults: KeyLimits, prices: Prices, ledger: UsageLedger, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._defaults = defaults
        self._clock = clock
        self._prices = prices
        self._ledger = ledger
        self._accounts: dict[str, Account] = {}

    @property
    def active(self) -> int:
        """Tickets not closed yet, of all keys."""
        return sum(account.active for account in self._accounts.values())

    def allows(self, principal: Principal, model: str) -> bool:
        """Whether the key may use a model of that name: for lists and for counting tokens."""
        return self._account(principal, self._clock()).allows(model)

    def admit(self, principal: Principal, model: str) -> Ticket:
        """A ticket for one request, which must be closed. Raises `ApiError`; a refused request uses nothing up.

        What waiting does not help against is looked at first.
        """
        now = self._clock()
        account = self._account(principal, now)
        if not account.allows(model):
            raise answers.model_denied(account, model)
        if account.budgets:
            totals, period = self._ledger.totals(principal.key_id, now)
            spent = account.exhausted(totals)
            if spent is not None:
                raise answers.budget_spent(account, spent, totals, period, now)
        if account.active >= account.concurrent:
            raise answers.too_many(account, now)
        for bucket in (account.tokens, account.requests):
            if bucket is not None and bucket.wait(1, now) > 0:
                raise answers.too_fast(account, bucket, now)
        if account.requests is not None:
            account.requests.take(1, now)
        account.active += 1
        return Ticket(account, principal, model, self._prices, self._ledger, self._clock)

    def _account(self, principal: Principal, now: float) -> Account:
        account = self._accounts.get(principal.key_id)
        if account is None:
            account = self._accounts[principal.key_id] = Account(principal, self._defaults, now)
        else:
            account.follow(principal.limits, self._defaults, now)
        return account


class Ticket:
    """One admitted request. Close it however the request ends; a `with` block does."""

    __slots__ = ("_account", "_clock", "_closed", "_ledger", "_model", "_prices", "_principal")

    def __init__(
        self,
        account: Account,
        principal: Principal,
        model: str,
        prices: Prices,
        ledger: UsageLedger,
        clock: Callable[[], float],
    ) -> None:
        self._account = account
        self._principal = principal
        self._model = model
        self._prices = prices
        self._ledger = ledger
        self._clock = clock
        self._closed = False

    @property
    def headers(self) -> Mapping[str, str]:
        """For the answer, lower-case: rate limits and standing of this moment; none for a key without limits."""
        account, now = self._account, self._clock()
        headers = answers.rate_headers(account, now)
        if account.budgets:
            headers |= answers.standing_headers(account.standing(*self._ledger.totals(self._principal.key_id, now)))
        return headers

    def use(self, model: str, usage: Mapping[str, Any]) -> None:
        """Count the `usage` of an answer, as the API words it, whatever it says. Once for each model call, or
        once for several that it lists as iterations. `model` is the upstream's name: prices go by it.
        """
        if not isinstance(usage, Mapping):
            return
        now = self._clock()
        principal, price = self._principal, self._prices.of(model)
        for counts in counts_of(usage):
            if counts.doubtful:
                log.warning("usage_not_plausible", model=model[:200], key_id=principal.key_id)
            nanos = price.nanos(counts) if price is not None else 0
            self._ledger.note(
                principal.key_id,
                principal.subject,
                model,
                now,
                counts=counts,
                nanos=nanos,
                priced=price is not None,
            )
            if self._account.tokens is not None:
                self._account.tokens.take(counts.limited, now)
        if not self._closed:
            self._model = model

    def close(self) -> None:
        """The request has ended: its place is free, the request is counted. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._account.active -= 1
        principal = self._principal
        self._ledger.note(principal.key_id, principal.subject, self._model, self._clock(), requests=1)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
