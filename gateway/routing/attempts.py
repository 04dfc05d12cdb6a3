"""What to do after a model call failed before its first byte: the same upstream again, the next one, or give up.

Pure functions from a failure and what is known of the attempt to a decision with a reason. Never asked about an
answer that has begun: once a client has seen a byte there is nothing to repeat. Knows no clock and no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamTimeout

__all__ = ["Attempt", "Decision", "GatewayHeldBack", "asked_wait", "counts_against", "decide", "told"]

FIRST_BACKOFF = 0.5
"""Seconds; the longest first wait. Each further one may be twice as long."""

LONGEST_BACKOFF = 8.0

LONGEST_ASKED = 2.0
"""Seconds; an upstream that asks for more is not waited for: another is asked, or its word goes to the client, which
knows how to wait. To be held without a head for as long looks dead to it."""

SHORT_SILENCE = 30.0
"""Seconds; a call that timed out after more than this is not repeated at the same upstream: the next silence
would cost as much again."""

_AGAIN = frozenset({408, 409, 429})
_ELSEWHERE = frozenset({401, 402, 403, 404, 408, 409, 429})
"""Statuses below 500 that say something about this upstream and not about the request."""

_NOT_AGAIN = frozenset({501})


class GatewayHeldBack(UpstreamError):
    """The gateway itself did not call the upstream: its breaker is open or all its slots are taken."""

    def __init__(self, message: str, *, retry_after: float, reason: str) -> None:
        whole = max(1, round(retry_after))
        super().__init__(529, "overloaded_error", message, retry_after=str(whole), reason=reason)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed attempt. `number` counts from 1 at this upstream and `limit` is how many it may have; `took` is
    its length and `left` the time until the client's patience ends, in seconds; `another`: a target follows."""

    number: int
    limit: int
    took: float
    left: float
    another: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """`again`: the same upstream after `wait` seconds; `next`: the next target now; `stop`: tell the client."""

    action: Literal["again", "next", "stop"]
    reason: str
    wait: float = 0.0


def decide(failure: UpstreamFailure, attempt: Attempt, *, chance: float, now: datetime | None = None) -> Decision:
    """What to do next. `chance` in [0, 1) places the wait between nothing and the longest (full jitter)."""
    if not _is_the_upstreams(failure):
        return Decision("stop", "refused")
    onwards: Literal["next", "stop"] = "next" if attempt.another else "stop"
    if attempt.left <= 0:
        return Decision("stop", "out of patience")
    barred = _not_again(failure, attempt)
    if barred is not None:
        return Decision(onwards, barred)
    asked = asked_wait(failure, now or datetime.now(UTC))
    if asked is None:
        wait = chance * min(LONGEST_BACKOFF, FIRST_BACKOFF * float(1 << (attempt.number - 1)))
    elif asked > LONGEST_ASKED:
        return Decision(onwards, "asked to wait too long")
    else:
        # A little beyond what was asked, so that callers who were refused together do not come back together.
        wait = asked * (1 + chance / 10)
    if wait >= attempt.left:
        return Decision(onwards, "out of patience")
    return Decision("again", "passing trouble", wait)


def counts_against(failure: UpstreamFailure) -> bool:
    """Whether the breaker counts it: the upstream is in trouble, rather than this request or our account."""
    if isinstance(failure, GatewayHeldBack):
        return False
    if isinstance(failure, UpstreamError):
        return failure.status >= 500 and failure.status not in _NOT_AGAIN and failure.should_retry is not False
    return isinstance(failure, UpstreamBroken | UpstreamTimeout)


def told(failures: Sequence[UpstreamFailure]) -> UpstreamFailure:
    """Of the failures of all targets, in order, the one for the client: the last that came from an upstream and
    may pass, else the last from an upstream, else the last. So a spare upstream that lacks the model does not
    turn "overloaded, try later" into "no such model"."""
    real = [failure for failure in failures if not isinstance(failure, GatewayHeldBack)]
    passing = [failure for failure in real if _may_pass(failure)]
    return (passing or real or list(failures))[-1]


def asked_wait(failure: UpstreamFailure, now: datetime) -> float | None:
    """Seconds the upstream asked for in its retry-after, a number or a date; None without a usable one."""
    if not isinstance(failure, UpstreamError) or failure.retry_after is None:
        return None
    text = failure.retry_after.strip()
    if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def _is_the_upstreams(failure: UpstreamFailure) -> bool:
    """Whether it tells of the upstream: another one, or the same one later, may do better."""
    if not isinstance(failure, UpstreamError):
        return True
    return failure.status >= 500 or failure.status in _ELSEWHERE or failure.should_retry is True


def _not_again(failure: UpstreamFailure, attempt: Attempt) -> str | None:
    """Why the same upstream is not asked again, if so."""
    if isinstance(failure, GatewayHeldBack):
        return "held back"
    if attempt.number >= attempt.limit:
        return "no attempts left"
    if isinstance(failure, UpstreamTimeout) and attempt.took > SHORT_SILENCE:
        return "silent for long"
    if isinstance(failure, UpstreamError) and not _may_pass(failure):
        return "will not pass"
    return None


def _may_pass(failure: UpstreamFailure) -> bool:
    """Whether the same request may succeed at the same upstream later; its own word on it counts most."""
    if not isinstance(failure, UpstreamError):
        return True
    if failure.should_retry is not None:
        return failure.should_retry
    return failure.status in _AGAIN or (failure.status >= 500 and failure.status not in _NOT_AGAIN)
