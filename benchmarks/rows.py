"""What a row is: its declaration, its measured figures, and the arithmetic of ratios and goals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

__all__ = ["Figure", "Goal", "Row", "RowSpec", "fraction", "ratio", "report"]


@dataclass(frozen=True, slots=True)
class Goal:
    """The row is as good as we want it when this figure of it is at most `limit`, or with `least` at least."""

    figure: Literal["value", "ratio"]
    limit: float
    least: bool = False

    def met_by(self, reached: float) -> bool:
        return reached >= self.limit if self.least else reached <= self.limit

    def text(self, unit: str) -> str:
        limit = fraction(self.limit) if self.figure == "ratio" else f"{self.limit:g} {unit}"
        return f"{'≥' if self.least else '≤'} {limit}"


@dataclass(frozen=True, slots=True)
class RowSpec:
    """Declaration of one row. `what` is measured on our side, `baseline` on the other ("" when there is none).
    `added`: the value is what our side takes on top of something."""

    name: str
    unit: str
    what: str
    baseline: str = ""
    goal: Goal | None = None
    added: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured for one row, in the row's unit. `ratio` is ours divided by the baseline's."""

    value: float
    baseline_value: float | None = None
    ratio: float | None = None

    @classmethod
    def compared(cls, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
        """Medians of two paired series, and their ratio."""
        value, baseline = median(ours), median(theirs)
        return cls(value, baseline, ratio(value, baseline))

    @classmethod
    def added(cls, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
        """What our side adds: the median of the paired differences, and the ratio of the medians."""
        differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
        baseline = median(theirs)
        return cls(median(differences), baseline, ratio(median(ours), baseline))


@dataclass(frozen=True, slots=True)
class Row:
    """A declaration with its figures."""

    spec: RowSpec
    figure: Figure

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        goal = self.spec.goal
        if goal is None:
            return None
        reached = self.figure.value if goal.figure == "value" else self.figure.ratio
        return reached is not None and goal.met_by(reached)

    def as_json(self) -> dict[str, Any]:
        goal = self.spec.goal
        return {
            "name": self.spec.name,
            "value": _rounded(self.figure.value),
            "unit": self.spec.unit,
            "ratio": _rounded(self.figure.ratio),
            "baseline": self.spec.baseline or None,
            "baseline_value": _rounded(self.figure.baseline_value),
            "goal": goal.text(self.spec.unit) if goal is not None else None,
            "met": self.met,
        }


def ratio(ours: float, theirs: float) -> float:
    """How often the baseline fits into ours. Raises ValueError when the baseline is no measurement."""
    if not theirs > 0:
        raise ValueError(f"a baseline of {theirs} cannot be compared with")
    return ours / theirs


def fraction(value: float) -> str:
    """A ratio as people say it: `1/108`, `1.24×`."""
    if 0 < value < 0.5:
        parts = 1 / value
        return f"1/{parts:.3g}" if parts < 100 else f"1/{round(parts)}"
    return f"{value:.3g}×"


def report(specs: Sequence[RowSpec], figures: Mapping[str, Figure]) -> list[Row]:
    """Rows in the order of their declarations; declared ones that were not measured are left out.

    Raises KeyError for a figure that no declaration names.
    """
    unknown = figures.keys() - {spec.name for spec in specs}
    if unknown:
        raise KeyError(f"no row is declared for {', '.join(sorted(unknown))}")
    return [Row(spec, figures[spec.name]) for spec in specs if spec.name in figures]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
