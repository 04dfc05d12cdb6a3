"""What a forwarded request costs in the gateway: against a direct call, a bare relay and a well-known proxy.

Authentication, policy and audit are on. Starts only the servers, and takes only the samples, that are asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from benchmarks import servers
from benchmarks.forwarding import endurance
from benchmarks.forwarding.cells import SHAPES, Cell, Side, sample
from benchmarks.forwarding.declared import DIRECT, FLOOR, OTHERS, OURS, PEER
from benchmarks.forwarding.declared import ROWS as ROWS_OF_CELLS
from benchmarks.forwarding.lean_client import LeanClient
from benchmarks.forwarding.litellm_proxy import installed, litellm
from benchmarks.group import Group
from benchmarks.processes import rss_mib
from benchmarks.rig import Rig
from benchmarks.rows import Figure, Goal, RowSpec, ratio

__all__ = ["GROUP"]

PEER_SHARE = 0.1
"""Of the requests that the others get."""

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
    OTHERS[DIRECT],
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
    FLOOR: RowSpec("gateway.rss_mib", "MiB", _LOADED, OTHERS[FLOOR], Goal("value", 100)),
    PEER: RowSpec("gateway.rss_mib.vs_litellm", "MiB", _LOADED, OTHERS[PEER]),
}
_HARNESS = RowSpec(
    "gateway.harness_cpu_ms", "ms", "processor time of this client for a direct whole answer, 16 at a time"
)

ROWS = (
    *(row.spec for row in ROWS_OF_CELLS),
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
        for cell in dict.fromkeys(row.cell for row in ROWS_OF_CELLS):
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
    rows = [row for row in ROWS_OF_CELLS if row.cell == cell and row.other in sides and rig.wants(row.spec.name)]
    harness = cell == Cell("", 16) and rig.wants(_HARNESS.name)
    if not rows and not harness:
        return {}
    needed = {DIRECT, OURS, *(row.other for row in rows)}
    rig.say(
        f"{SHAPES[cell.shape].what}, {cell.callers} at a time: {', '.join(name for name in sides if name in needed)}"
    )
    rounds = rig.rounds(30, 6) if cell.callers == 1 else rig.rounds(12, 2)
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
    wanted = {row.other for row in ROWS_OF_CELLS if rig.wants(row.spec.name)}
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
