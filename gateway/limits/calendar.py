"""UTC days and months of a moment, worked out once a day instead of once a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Calendar", "Period", "period_of"]


@dataclass(frozen=True, slots=True)
class Period:
    """The day that a moment is in. `begins` and the ends are UNIX seconds; `day` is `2026-11-22`, `month_begin`
    the first day of its month in the same form, `month` is `November 2026`."""

    day: str
    month: str
    month_begin: str
    begins: float
    day_ends: float
    month_ends: float


def period_of(now: float) -> Period:
    """The period of a moment in UNIX seconds."""
    date = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = date.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Period(
        day=f"{date:%Y-%m-%d}",
        month=f"{date:%B %Y}",
        month_begin=f"{first:%Y-%m-%d}",
        begins=date.timestamp(),
        day_ends=(date + timedelta(days=1)).timestamp(),
        month_ends=following.timestamp(),
    )


class Calendar:
    """Remembers the current period."""

    def __init__(self) -> None:
        self._period = period_of(0.0)

    def at(self, now: float) -> Period:
        """The period of `now`; cheap for as long as the day lasts."""
        period = self._period
        if not period.begins <= now < period.day_ends:
            period = self._period = period_of(now)
        return period
