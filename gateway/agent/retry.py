"""Whether and when a failed model call inside a turn is tried again: a pure decision."""

from __future__ import annotations

import random

from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure

ATTEMPTS = 4
"""Model calls for one step, the first included."""

LONGEST_WAIT = 30.0
"""Seconds; an upstream that asks for more is not waited for."""


def wait_before_retry(failure: UpstreamFailure, attempt: int) -> float | None:
    """Seconds to wait before attempt number `attempt` + 1, or None to give up.

    Overload, rate limits, server errors and broken connections are worth another try; a refusal is not.
    """
    if attempt >= ATTEMPTS:
        return None
    backoff = 0.5 * float(1 << (attempt - 1)) * (1 + random.random() / 4)
    if isinstance(failure, UpstreamBroken):
        return backoff
    if not isinstance(failure, UpstreamError) or failure.should_retry is False:
        return None
    if failure.status != 429 and failure.status < 500 and not failure.should_retry:
        return None
    if failure.retry_after is None:
        return backoff
    try:
        asked = float(failure.retry_after)
    except ValueError:
        return backoff
    return asked if 0 <= asked <= LONGEST_WAIT else None
