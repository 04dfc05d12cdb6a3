"""Samples of several sides, interleaved: every round takes each side once, in the same order.

A busy moment of the machine then falls on all sides, and medians can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Side", "interleaved", "repeated", "timed"]

Side = Callable[[], Awaitable[Sequence[float]]]
"""Takes its samples of one round."""


async def interleaved(rounds: int, sides: Mapping[str, Side], *, warm_up: bool = True) -> dict[str, list[float]]:
    """All samples by side. The first round is thrown away where there is something to warm up."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-1 if warm_up else 0, rounds):
        for name, side in sides.items():
            taken = await side()
            if number >= 0:
                samples[name].extend(taken)
    return samples


def timed(work: Callable[[], Awaitable[object]]) -> Side:
    """One sample a round: the milliseconds `work` takes."""
    return repeated(1, work)


def repeated(times: int, work: Callable[[], Awaitable[object]]) -> Side:
    """Several samples a round, for work so short that one would say little."""

    async def side() -> list[float]:
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            await work()
            taken.append((time.perf_counter() - began) * 1000)
        return taken

    return side
