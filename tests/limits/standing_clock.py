"""A clock that only the test moves."""

from __future__ import annotations

from datetime import UTC, datetime

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
"""Of an ordinary Sunday, nine days before a month's end."""


class Clock:
    """UNIX seconds; set `now`."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
