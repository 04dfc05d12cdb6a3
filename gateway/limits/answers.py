"""How limits look to a client: the headers of an answer and the words of a refusal.

A limit that comes back by waiting is a 429 `rate_limit_error` with a `retry-after` of at most a minute: Claude
Code and the SDKs wait so long and go on. A budget that is used up is a 429 `billing_error` that says it is not to
be retried: they stop at once and show the message. A denied model is a 400: a 404 would be tried again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.limits.account import Account, Budget, Standing
from gateway.limits.bucket import Bucket
from gateway.limits.calendar import Period
from gateway.limits.ledger import Totals
from gateway.limits.prices import NANOS
from gateway.messages.errors import NO_RETRY, ApiError

__all__ = ["THRESHOLDS", "budget_spent", "model_denied", "rate_headers", "standing_headers", "too_fast", "too_many"]

LONGEST_WAIT = 60
"""Seconds: Claude Code waits for a `retry-after` up to this and gives up at a longer one."""

THRESHOLDS = (0.95, 0.75)
"""Shares of a budget from which on the client is warned."""

_ALMOST_ALL = 0.9999
_UNIFIED = "anthropic-ratelimit-unified-"
_LONGEST_NAME = 200


def rate_headers(account: Account, now: float) -> dict[str, str]:
    """Limit, rest and time of full rest of each per-minute limit that the key has."""
    headers: dict[str, str] = {}
    for name, bucket in (("requests", account.requests), ("tokens", account.tokens)):
        if bucket is not None:
            prefix = f"anthropic-ratelimit-{name}-"
            headers[f"{prefix}limit"] = str(int(bucket.capacity))
            headers[f"{prefix}remaining"] = str(max(0, math.floor(bucket.level(now))))
            headers[f"{prefix}reset"] = _stamp(now + bucket.wait(bucket.capacity, now))
    return headers


def standing_headers(standing: Standing | None) -> dict[str, str]:
    """How much of its budget a key has used; nothing for a key without one."""
    if standing is None:
        return {}
    passed = next((threshold for threshold in THRESHOLDS if standing.share >= threshold), None)
    status = "allowed" if passed is None else "allowed_warning"
    resets = str(int(standing.resets))
    headers = {
        f"{_UNIFIED}status": status,
        f"{_UNIFIED}representative-claim": "overage",
        f"{_UNIFIED}reset": resets,
        f"{_UNIFIED}overage-status": status,
        f"{_UNIFIED}overage-utilization": f"{math.floor(min(standing.share, _ALMOST_ALL) * 10_000) / 10_000:g}",
        f"{_UNIFIED}overage-reset": resets,
    }
    if passed is not None:
        headers[f"{_UNIFIED}overage-surpassed-threshold"] = f"{passed:g}"
    return headers


def model_denied(account: Account, model: str) -> ApiError:
    allowed = ", ".join(account.patterns or ())
    text = (
        f"model: {model[:_LONGEST_NAME]} is not allowed for the API key {account.name!r}, which may use {allowed}. "
        "Choose another model, or ask the gateway's operator."
    )
    return ApiError(400, "invalid_request_error", text, headers=NO_RETRY)


def too_many(account: Account, now: float) -> ApiError:
    """Too many requests at a time."""
    most = int(account.concurrent)
    text = f"The API key {account.name!r} may have {_counted(most, 'request')} running at a time, and has."
    return ApiError(429, "rate_limit_error", text, headers={**rate_headers(account, now), "retry-after": "1"})


def too_fast(account: Account, bucket: Bucket, now: float) -> ApiError:
    """A per-minute limit is used up for the moment."""
    what = "request" if bucket is account.requests else "token"
    seconds = max(1, math.ceil(bucket.wait(1, now)))
    text = (
        f"The API key {account.name!r} may use {_counted(int(bucket.capacity), what)} per minute. "
        f"The next request is possible in {_span(seconds)}."
    )
    headers = {**rate_headers(account, now), "retry-after": str(min(seconds, LONGEST_WAIT))}
    return ApiError(429, "rate_limit_error", text, headers=headers)


def budget_spent(account: Account, budget: Budget, totals: Totals, period: Period, now: float) -> ApiError:
    """A budget is used up: final until it begins anew, which also long-running clients must not wait for."""
    resets = budget.resets(period)
    text = (
        f"The budget of the API key {account.name!r} for {period.month if budget.monthly else period.day} is used up: "
        f"{_amounts(budget, totals)}. It begins anew on {datetime.fromtimestamp(resets, UTC):%Y-%m-%d} at 00:00 UTC. "
        "Ask the gateway's operator if you need more."
    )
    headers: Mapping[str, str] = {
        **NO_RETRY,
        "retry-after": str(max(1, math.ceil(resets - now))),
        # Claude Code hides our message if a representative claim or an overage status stands beside these.
        f"{_UNIFIED}status": "rejected",
        f"{_UNIFIED}reset": str(int(resets)),
        f"{_UNIFIED}overage-disabled-reason": "org_spend_cap_reached",
    }
    details = {"error_code": "enforced_spend_limit_reached"}
    return ApiError(429, "billing_error", text, headers=headers, details=details)


def _amounts(budget: Budget, totals: Totals) -> str:
    used = budget.used(totals)
    if budget.money:
        return f"{used / NANOS:,.2f} of {budget.amount / NANOS:,.2f} USD"
    return f"{used:,} of {int(budget.amount):,} tokens"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _span(seconds: int) -> str:
    if seconds < 120:
        return _counted(seconds, "second")
    return f"about {_counted(round(seconds / 60), 'minute')}"


def _stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(math.ceil(moment), UTC).isoformat()[:19]}Z"
