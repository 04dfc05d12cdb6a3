"""A circuit breaker: an upstream that keeps failing is left alone for a while, then asked by one request.

Counts and times only. Must not know what a failure is (`attempts.counts_against` says) nor what is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

__all__ = ["Breaker", "Trial"]

State = Literal["closed", "open", "half-open"]


class Breaker:
    """`failures` in a row, none older than `window` seconds, open it for `rest` seconds; 0 failures: never.

    After the rest it is half-open: one call at a time may try, its success closes it, its failure opens it anew.
    Not for use from several threads.
    """

    def __init__(
        self,
        failures: int = 8,
        *,
        window: float = 60.0,
        rest: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._window = window
        self._rest = rest
        self._clock = clock
        self._failed_at: list[float] = []
        self._opened_at: float | None = None
        self._probe: Trial | None = None

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self.rest_left <= 0 else "open"

    @property
    def rest_left(self) -> float:
        """Seconds until a call may try; 0 when one may."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._rest - self._clock())

    @property
    def allows(self) -> bool:
        """Whether a call could begin now. Takes nothing."""
        return self._opened_at is None or (self._probe is None and self.rest_left <= 0)

    def begin(self) -> Trial | None:
        """Leave for one call, whose end must be told to it; None: not now."""
        if self._opened_at is None:
            return Trial(self)
        if not self.allows:
            return None
        self._probe = Trial(self)
        return self._probe

    def _succeeded(self, trial: Trial) -> None:
        # A call that began before it opened says nothing about how the upstream is now.
        if self._opened_at is not None and trial is not self._probe:
            return
        self._failed_at.clear()
        self._opened_at = None
        self._probe = None

    def _failed(self, trial: Trial) -> None:
        if not self._limit:
            return
        now = self._clock()
        if self._opened_at is not None:
            if trial is self._probe:
                self._opened_at, self._probe = now, None
            return
        self._failed_at = [*(at for at in self._failed_at if at > now - self._window), now]
        if len(self._failed_at) >= self._limit:
            self._failed_at.clear()
            self._opened_at = now

    def _left(self, trial: Trial) -> None:
        if trial is self._probe:
            self._probe = None


class Trial:
    """One call under a breaker. It may succeed first and fail later, when its stream breaks off."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def succeeded(self) -> None:
        """The upstream answered as it should."""
        self._breaker._succeeded(self)

    def failed(self) -> None:
        """The upstream is in trouble."""
        self._breaker._failed(self)

    def over(self) -> None:
        """The call has ended, however: if it was the one that may try, another may now."""
        self._breaker._left(self)
