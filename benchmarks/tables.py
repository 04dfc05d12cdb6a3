"""Rows for people: a table for the terminal, and the one in docs/benchmarks.md between its markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row, RowSpec, fraction

__all__ = ["BEGIN", "END", "listing", "markdown", "plain", "rewrite"]

BEGIN = "<!-- made by `benchmarks/run --markdown`: begin -->"
END = "<!-- made by `benchmarks/run --markdown`: end -->"

_MET = {True: "met", False: "missed", None: ""}


def plain(rows: Sequence[Row]) -> str:
    """One line a row, columns aligned."""
    head = ("row", "value", "unit", "ratio", "baseline", "goal", "")
    return _aligned([head, *(_cells(row) for row in rows)])


def listing(specs: Sequence[RowSpec]) -> str:
    """What there is to measure."""
    return _aligned([(spec.name, spec.what, f"against {spec.baseline}" if spec.baseline else "") for spec in specs])


def markdown(rows: Sequence[Row]) -> str:
    """A table of ratios and values; rows that have no ratio show their value alone."""
    lines = ["| row | measured | result | compared with | goal |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        spec, figure = row.spec, row.figure
        result = f"{figure.value:.3g} {spec.unit}"
        if figure.ratio is not None:
            result = f"**{fraction(figure.ratio)}** ({'+' if spec.added else ''}{result})"
        goal = spec.goal.text(spec.unit) if spec.goal is not None else ""
        verdict = f"{goal}: {_MET[row.met]}" if goal else ""
        lines.append(f"| `{spec.name}` | {spec.what} | {result} | {spec.baseline or '–'} | {verdict} |")
    return "\n".join(lines)


def rewrite(path: Path, rows: Sequence[Row]) -> None:
    """Replace the table between the markers of `path`. Raises ValueError when they are not there."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no markers for the table")
    path.write_text(f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    spec, figure = row.spec, row.figure
    return (
        spec.name,
        f"{figure.value:.3g}" if figure.value < 1000 else f"{figure.value:.0f}",
        spec.unit,
        fraction(figure.ratio) if figure.ratio is not None else "",
        f"{figure.baseline_value:.3g} {spec.unit}" if figure.baseline_value is not None else "",
        spec.goal.text(spec.unit) if spec.goal is not None else "",
        _MET[row.met],
    )


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
