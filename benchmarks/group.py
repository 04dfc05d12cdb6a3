"""A group: rows that are measured together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.rig import Rig
from benchmarks.rows import Figure, RowSpec

__all__ = ["Group"]


@dataclass(frozen=True, slots=True)
class Group:
    """`measure` gives the figures by row name; a row whose tool is missing on this machine may be absent."""

    name: str
    rows: tuple[RowSpec, ...]
    measure: Callable[[Rig], Awaitable[Mapping[str, Figure]]]
    needs_engine: bool = True
