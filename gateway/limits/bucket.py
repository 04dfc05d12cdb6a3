"""A token bucket: so much per minute, saved up to one minute's worth.

Takes the time as an argument; a clock that steps back refills nothing.
"""

from __future__ import annotations

__all__ = ["DEBT_MINUTES", "Bucket"]

DEBT_MINUTES = 10.0
"""What is only known afterwards (tokens of an answer) may push the level below zero, at most by so many minutes'
worth: one absurd report must not lock a key for days."""


class Bucket:
    """`capacity` units per minute. Starts full."""

    __slots__ = ("_at", "_level", "capacity")

    def __init__(self, capacity: float, now: float) -> None:
        self.capacity = capacity
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        """Units that can be taken now; negative while in debt."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / 60.0)
        self._at = now
        return self._level

    def wait(self, units: float, now: float) -> float:
        """Seconds until `units` can be taken; 0 when they can."""
        missing = min(units, self.capacity) - self.level(now)
        return max(0.0, missing * 60.0 / self.capacity)

    def take(self, units: float, now: float) -> None:
        """Take units, into debt if need be."""
        self._level = max(self.level(now) - units, -DEBT_MINUTES * self.capacity)

    def resize(self, capacity: float, now: float) -> None:
        """Another capacity; what was used of the old one stays used."""
        used = self.capacity - self.level(now)
        self.capacity = capacity
        self._level = max(capacity - used, -DEBT_MINUTES * capacity)
