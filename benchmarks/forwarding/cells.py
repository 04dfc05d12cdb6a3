"""Taking samples of forwarded requests: every side in turn, so many callers at a time.

Knows clients and requests; must not know which rows come of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.forwarding.lean_client import LeanClient, Times
from benchmarks.forwarding.requests import Ask, ask
from benchmarks.processes import cpu_ms

__all__ = ["SHAPES", "Cell", "Sampled", "Shape", "Side", "sample"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked for: how rows say it, the request, and how many of them a caller sends in a round when it
    is alone and when it is one of many."""

    what: str
    ask: Ask
    alone: int = 15
    together: int = 8


PACED_DELTAS = 20

SHAPES = {
    "": Shape("a whole answer", ask()),
    "stream": Shape("a streamed answer of 64 deltas", ask(stream=True)),
    "large": Shape("a whole answer to 80 kB with 24 tools", ask(large=True)),
    "large_stream": Shape("a streamed answer to 80 kB with 24 tools", ask(large=True, stream=True)),
    "first": Shape("a stream of 3 deltas 10 ms apart", ask(stream=True, mark="PACED-3"), 4, 1),
    "paced": Shape(
        f"a stream of {PACED_DELTAS} deltas 10 ms apart", ask(stream=True, mark=f"PACED-{PACED_DELTAS}"), 1, 1
    ),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request by so many callers."""

    shape: str
    callers: int


@dataclass(frozen=True, slots=True)
class Side:
    """A server and a client of it. A slow one takes part with `share` of the requests of a round."""

    client: LeanClient
    pid: int
    share: float = 1.0


@dataclass(slots=True)
class Sampled:
    """One side of a cell. One figure a round: medians of milliseconds, requests a second. All the transits of
    stamped deltas. Processor time of the server and of this process, milliseconds in all."""

    whole: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    transits: list[float] = field(default_factory=list)
    requests: int = 0
    server_ms: float = 0.0
    own_ms: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """Processor time of the server for one request."""
        return self.server_ms / self.requests

    @property
    def own_cpu_ms(self) -> float:
        """Processor time of this process for one request."""
        return self.own_ms / self.requests


async def sample(cell: Cell, sides: Mapping[str, Side], rounds: int) -> dict[str, Sampled]:
    """What each side takes for the cell's requests, by the side's name; one round before them is not counted."""
    for side in sides.values():
        await side.client.connect(cell.callers)
        await _round(cell, side, Sampled())
    taken = {name: Sampled() for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            await _round(cell, side, taken[name])
    return taken


async def _round(cell: Cell, side: Side, into: Sampled) -> None:
    shape = SHAPES[cell.shape]
    each = max(1, round((shape.alone if cell.callers == 1 else shape.together) * side.share))
    server, own, began = cpu_ms(side.pid), time.process_time(), time.perf_counter()
    of_callers = await asyncio.gather(*(_in_turn(side.client, shape.ask, each) for _ in range(cell.callers)))
    elapsed = time.perf_counter() - began
    times = [one for of_caller in of_callers for one in of_caller]
    into.requests += len(times)
    into.server_ms += cpu_ms(side.pid) - server
    into.own_ms += (time.process_time() - own) * 1000
    into.whole.append(median(one.whole for one in times))
    into.first_byte.append(median(one.first_byte for one in times))
    into.rate.append(len(times) / elapsed)
    into.transits.extend(transit for one in times for transit in one.transits)


async def _in_turn(client: LeanClient, request: Ask, count: int) -> Sequence[Times]:
    return [await client.ask(request) for _ in range(count)]
