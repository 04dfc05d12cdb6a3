"""The rows of single forwarded requests as a table: metric, shapes, callers, other sides, goal.

Declarations and the arithmetic of their figures; nothing here is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.forwarding.cells import SHAPES, Cell, Sampled
from benchmarks.rows import Figure, Goal, RowSpec, ratio

__all__ = ["DIRECT", "FLOOR", "OTHERS", "OURS", "PEER", "ROWS", "ForwardingRow"]

OURS, DIRECT, FLOOR, PEER = "gateway", "direct", "floor", "litellm"
OTHERS = {
    DIRECT: "the same request straight to the same upstream",
    FLOOR: "a bare relay in the same framework that checks and parses nothing",
    PEER: "LiteLLM's proxy, one worker",
}
LEAST_MS = 0.05
"""A ratio to less would be one of two noises."""

Taken = Mapping[str, Sampled]
FigureOf = Callable[[Taken, str], Figure]


def _added(taken: Taken, other: str) -> Figure:
    """What we add to a direct call; against another server, that and what it adds."""
    return _beside(lambda side: Figure.added(taken[side].whole, taken[DIRECT].whole), other)


def _first_byte(taken: Taken, other: str) -> Figure:
    return _beside(lambda side: Figure.added(taken[side].first_byte, taken[DIRECT].first_byte), other)


def _beside(added: Callable[[str], Figure], other: str) -> Figure:
    ours = added(OURS)
    if other == DIRECT:
        return ours
    return _against(ours.value, added(other).value)


def _cpu(taken: Taken, other: str) -> Figure:
    return _against(taken[OURS].cpu_ms, taken[other].cpu_ms)


def _against(ours_ms: float, theirs_ms: float) -> Figure:
    return Figure(ours_ms, theirs_ms, ratio(ours_ms, theirs_ms) if theirs_ms >= LEAST_MS else None)


def _rate(taken: Taken, other: str) -> Figure:
    return Figure.compared(taken[OURS].rate, taken[other].rate)


def _transit(taken: Taken, other: str) -> Figure:
    return Figure.compared(taken[OURS].transits, taken[other].transits)


@dataclass(frozen=True, slots=True)
class _Metric:
    """`others` with their goals. Rows against `plain` carry no suffix."""

    name: str
    unit: str
    what: str
    figure: FigureOf
    cells: Sequence[Cell]
    others: Mapping[str, Goal | None]
    plain: str = DIRECT


def _cells(shapes: Sequence[str], callers: Sequence[int]) -> list[Cell]:
    return [Cell(shape, number) for number in callers for shape in shapes]


_ALL = tuple(shape for shape in SHAPES if shape not in ("first", "paced"))
_ENDS = ("", "large_stream")
_MS = Goal("value", 1.0)

_METRICS = (
    _Metric("added_ms", "ms", "{asked}, {callers} at a time: median", _added, _cells(_ALL, (1,)), {DIRECT: _MS}),
    _Metric("added_ms", "ms", "{asked}, {callers} at a time: median", _added, _cells(_ALL, (16,)), {DIRECT: None}),
    _Metric(
        "added_ms",
        "ms",
        "{asked}, {callers} at a time: what is added to a direct call",
        _added,
        _cells(_ENDS, (1,)),
        {FLOOR: None, PEER: None},
    ),
    _Metric(
        "ttfb_ms", "ms", "{asked}: first byte", _first_byte, [Cell("first", 1)], {DIRECT: _MS, FLOOR: None, PEER: None}
    ),
    _Metric(
        "chunk_ms",
        "ms",
        "{asked}, {callers} at a time: a delta's way from the upstream to the client",
        _transit,
        [Cell("paced", 16)],
        {DIRECT: None, FLOOR: None, PEER: None},
    ),
    _Metric(
        "rps",
        "1/s",
        "{asked}, {callers} at a time: requests a second (more is better)",
        _rate,
        _cells(_ENDS, (16,)),
        {DIRECT: None, FLOOR: None, PEER: Goal("ratio", 15, least=True)},
    ),
    _Metric(
        "cpu_ms",
        "ms",
        "{asked}, {callers} at a time: processor time of the server",
        _cpu,
        _cells(_ALL, (1, 16)),
        {FLOOR: Goal("value", 0.6)},
        plain=FLOOR,
    ),
    _Metric(
        "cpu_ms",
        "ms",
        "{asked}, {callers} at a time: processor time of the server",
        _cpu,
        _cells(_ENDS, (1,)),
        {PEER: None},
    ),
)


@dataclass(frozen=True, slots=True)
class ForwardingRow:
    """A row of a cell and the other side."""

    spec: RowSpec
    cell: Cell
    other: str
    figure: FigureOf


def _rows() -> Iterator[ForwardingRow]:
    for metric in _METRICS:
        for cell in metric.cells:
            for other, goal in metric.others.items():
                paced = cell.shape in ("first", "paced")
                shape = f".{cell.shape}" if cell.shape and not paced else ""
                callers = "" if paced else f".c{cell.callers}"
                against = f".vs_{other}" if other != metric.plain else ""
                spec = RowSpec(
                    f"gateway.{metric.name}{shape}{callers}{against}",
                    metric.unit,
                    metric.what.format(asked=SHAPES[cell.shape].what, callers=cell.callers),
                    OTHERS[other],
                    goal,
                    added=metric.figure in (_added, _first_byte),
                )
                yield ForwardingRow(spec, cell, other, metric.figure)


ROWS = tuple(_rows())
