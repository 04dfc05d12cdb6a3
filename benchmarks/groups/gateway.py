"""What a forwarded request costs in the gateway: against a direct call, a bare relay and a well-known proxy.

Authentication, policy and audit are on. The rows are a table: metric, shapes, callers, other sides, goal.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import servers
from benchmarks.forwarding import endurance
from benchmarks.forwarding.cells import SHAPES, Cell, Sampled, Side, sample
from benchmarks.forwarding.lean_client import LeanClient
from benchmarks.forwarding.litellm_proxy import installed, litellm
from benchmarks.group import Group
from benchmarks.processes import rss_mib
from benchmarks.rig import Rig
from benchmarks.rows import Figure, Goal, RowSpec, ratio

__all__ = ["GROUP"]

OURS, DIRECT, FLOOR, PEER = "gateway", "direct", "floor", "litellm"
_OTHERS = {
    DIRECT: "the same request straight to the same upstream",
    FLOOR: "a bare relay in the same framework that checks and parses nothing",
    PEER: "LiteLLM's proxy, one worker",
}
PEER_SHARE = 0.1
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
    """`others` with their goals; the first one's rows have the plain name."""

    name: str
    unit: str
    what: str
    figure: FigureOf
    cells: Sequence[Cell]
    others: Mapping[str, Goal | None]


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
        {"": None, FLOOR: None, PEER: None},
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
    ),
    _Metric(
        "cpu_ms",
        "ms",
        "{asked}, {callers} at a time: processor time of the server",
        _cpu,
        _cells(_ENDS, (1,)),
        {"": None, PEER: None},
    ),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a cell and the other side."""

    spec: RowSpec
    cell: Cell
    other: str
    figure: FigureOf


def _rows() -> Iterator[_Row]:
    for metric in _METRICS:
        for cell in metric.cells:
            for at, (other, goal) in enumerate(metric.others.items()):
                if not other:
                    continue
                paced = cell.shape in ("first", "paced")
                shape = f".{cell.shape}" if cell.shape and not paced else ""
                callers = "" if paced else f".c{cell.callers}"
                against = f".vs_{other}" if at else ""
                spec = RowSpec(
                    f"gateway.{metric.name}{shape}{callers}{against}",
                    metric.unit,
                    metric.what.format(asked=SHAPES[cell.shape].what, callers=cell.callers),
                    _OTHERS[other],
                    goal,
                    added=metric.figure in (_added, _first_byte),
                )
                yield _Row(spec, cell, other, metric.figure)


_OF_CELLS = tuple(_rows())
_LOADED = "resident memory after the requests of the rows above"

_SESSION = RowSpec(
    "gateway.session_turns_ms",
    "ms",
    f"the last {endurance.ENDS} of {endurance.TURNS} turns of one session, each a streamed answer to 80 kB: median",
    f"the first {endurance.ENDS} of them",
    Goal("ratio", 1.2),
)
_SESSION_RSS = RowSpec(
    "gateway.session_rss_mib",
    "MiB",
    "most resident memory from the first of those turns to the last",
    "before them",
    Goal("ratio", 1.1),
)
_STREAM = RowSpec(
    "gateway.long_stream_ms",
    "ms",
    f"one stream of {endurance.EVENTS} deltas as fast as they go, 12 MB",
    _OTHERS[DIRECT],
)
_STREAM_RSS = RowSpec(
    "gateway.long_stream_rss_mib",
    "MiB",
    "most resident memory from the stream's beginning to its end",
    "before it",
    Goal("ratio", 1.1),
)
_START_RSS = RowSpec("gateway.rss_start_mib", "MiB", "resident memory after the start")
_RSS = {
    FLOOR: RowSpec("gateway.rss_mib", "MiB", _LOADED, _OTHERS[FLOOR], Goal("value", 100)),
    PEER: RowSpec("gateway.rss_mib.vs_litellm", "MiB", _LOADED, _OTHERS[PEER]),
}
_HARNESS = RowSpec(
    "gateway.harness_cpu_ms", "ms", "processor time of this client for a direct whole answer, 16 at a time"
)

ROWS = (
    *(row.spec for row in _OF_CELLS),
    _SESSION,
    _SESSION_RSS,
    _STREAM,
    _STREAM_RSS,
    _START_RSS,
    *_RSS.values(),
    _HARNESS,
)


async def measure(rig: Rig) -> Mapping[str, Figure]:
    figures: dict[str, Figure] = {}
    async with _sides(rig) as sides:
        figures[_START_RSS.name] = Figure(rss_mib(sides[OURS].pid))
        for cell in dict.fromkeys(row.cell for row in _OF_CELLS):
            figures |= await _of_cell(rig, cell, sides)
        if rig.wants(_SESSION.name, _SESSION_RSS.name):
            figures |= await _long_session(rig, sides)
        if rig.wants(_STREAM.name, _STREAM_RSS.name):
            figures |= await _long_stream(rig, sides)
        ours = rss_mib(sides[OURS].pid)
        for other, spec in _RSS.items():
            if other in sides:
                theirs = rss_mib(sides[other].pid)
                figures[spec.name] = Figure(ours, theirs, ratio(ours, theirs))
    return figures


async def _of_cell(rig: Rig, cell: Cell, sides: Mapping[str, Side]) -> dict[str, Figure]:
    rows = [row for row in _OF_CELLS if row.cell == cell and row.other in sides and rig.wants(row.spec.name)]
    harness = cell == Cell("", 16) and rig.wants(_HARNESS.name)
    if not rows and not harness:
        return {}
    needed = {DIRECT, OURS, *(row.other for row in rows)}
    rig.say(
        f"{SHAPES[cell.shape].what}, {cell.callers} at a time: {', '.join(name for name in sides if name in needed)}"
    )
    rounds = rig.rounds(30, 8) if cell.callers == 1 else rig.rounds(12, 3)
    taken = await sample(cell, {name: side for name, side in sides.items() if name in needed}, rounds)
    figures = {row.spec.name: row.figure(taken, row.other) for row in rows}
    if harness:
        figures[_HARNESS.name] = Figure(taken[DIRECT].own_cpu_ms)
    return figures


async def _long_session(rig: Rig, sides: Mapping[str, Side]) -> dict[str, Figure]:
    rig.say(f"{endurance.TURNS} turns of one session")
    long = await endurance.long_session(sides[OURS])
    return {
        _SESSION.name: Figure(long.last_ms, long.first_ms, ratio(long.last_ms, long.first_ms)),
        _SESSION_RSS.name: Figure(long.most_mib, long.before_mib, ratio(long.most_mib, long.before_mib)),
    }


async def _long_stream(rig: Rig, sides: Mapping[str, Side]) -> dict[str, Figure]:
    rig.say(f"a stream of {endurance.EVENTS} deltas, direct and through the gateway")
    direct = await endurance.long_stream(sides[DIRECT])
    ours = await endurance.long_stream(sides[OURS])
    return {
        _STREAM.name: Figure(ours.last_ms, direct.last_ms, ratio(ours.last_ms, direct.last_ms)),
        _STREAM_RSS.name: Figure(ours.most_mib, ours.before_mib, ratio(ours.most_mib, ours.before_mib)),
    }


@contextlib.asynccontextmanager
async def _sides(rig: Rig) -> AsyncIterator[dict[str, Side]]:
    """The servers that the wanted rows need; LiteLLM only where it can be had."""
    wanted = {row.other for row in _OF_CELLS if rig.wants(row.spec.name)}
    wanted |= {other for other, spec in _RSS.items() if rig.wants(spec.name)}
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(servers.upstream(rig.directory))
        running = {DIRECT: upstream}
        if FLOOR in wanted:
            running[FLOOR] = await stack.enter_async_context(servers.floor(rig.directory, upstream.url))
        running[OURS] = await stack.enter_async_context(servers.gateway(rig.directory, rig.workspace, upstream.url))
        if PEER in wanted and (command := await installed(rig.say)) is not None:
            rig.say("starting LiteLLM")
            running[PEER] = await stack.enter_async_context(litellm(command, rig.directory, upstream.url))
        sides = {}
        for name, server in running.items():
            client = await stack.enter_async_context(contextlib.aclosing(LeanClient(server.url, server.key)))
            sides[name] = Side(client, server.pid, PEER_SHARE if name == PEER else 1.0)
        yield sides


GROUP = Group("gateway", ROWS, measure, needs_engine=False)
