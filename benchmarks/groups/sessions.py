"""A cold session against a bare container that runs one command."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks import docker_cli
from benchmarks.group import Group
from benchmarks.rig import IMAGE, Rig
from benchmarks.rows import Figure, Goal, RowSpec
from benchmarks.sampling import Side, interleaved, timed
from gateway.sandbox.sessions import Sessions

__all__ = ["GROUP"]

_OPEN = "a hardened session from nothing to the exit of its first `true`"

ROWS = (
    RowSpec("session.cold_open_ms", "ms", _OPEN),
    RowSpec(
        "session.cold_open_vs_docker_run",
        "ms",
        _OPEN,
        "`true` in a bare container of the same image without network, Engine API by hand: create, start, wait",
        Goal("ratio", 1.3),
    ),
    RowSpec(
        "session.cold_open_vs_docker_cli",
        "ms",
        _OPEN,
        "`docker run --rm --network none` of `true`, same image, docker command line",
    ),
    RowSpec("session.close_ms", "ms", "closing a session until its container is gone"),
)


async def measure(rig: Rig) -> Mapping[str, Figure]:
    started: list[str] = []

    async def run() -> None:
        started.append(await rig.engine.run(IMAGE, ["true"], rig.labels))

    async def remove() -> list[float]:
        await rig.engine.remove(started.pop())
        return []

    async with rig.sessions() as sessions:
        rig.say("cold sessions and bare containers in turn")
        sides: dict[str, Side] = {
            "open": timed(lambda: _first_result(rig, sessions)),
            "close": timed(lambda: _close_all(sessions)),
            "run": timed(run),
            "remove": remove,
        }
        if docker_cli.available():
            arguments = ["run", "--rm", "--network", "none", "--label", f"bulkhead={rig.label}"]
            sides["cli"] = timed(lambda: docker_cli.docker(*arguments, "--entrypoint", "true", IMAGE))
        samples = await interleaved(rig.rounds(12, 3), sides)
    figures = {
        "session.cold_open_ms": Figure(median(samples["open"])),
        "session.cold_open_vs_docker_run": Figure.compared(samples["open"], samples["run"]),
        "session.close_ms": Figure(median(samples["close"])),
    }
    if "cli" in samples:
        figures["session.cold_open_vs_docker_cli"] = Figure.compared(samples["open"], samples["cli"])
    return figures


async def _first_result(rig: Rig, sessions: Sessions) -> None:
    session = await rig.open(sessions)
    process = await session.toolhost.spawn(["/bin/true"], cwd=session.sandbox.workspace)
    if (await process.wait()).code != 0:
        raise RuntimeError("true failed in the sandbox")


async def _close_all(sessions: Sessions) -> None:
    for session in sessions.all():
        await sessions.close(session, "measured")


GROUP = Group("sessions", ROWS, measure)
