"""Calls into an open sandbox against `docker exec` into the very same container."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import median

from benchmarks import docker_cli
from benchmarks.bash_tool import bash
from benchmarks.group import Group
from benchmarks.rig import Rig
from benchmarks.rows import Figure, Goal, RowSpec
from benchmarks.sampling import interleaved, repeated, timed
from gateway.sandbox.toolhost import Toolhost

__all__ = ["GROUP"]

_EXEC = "docker exec of `true` into the same container, Engine API by hand"
_CLI = "docker exec of `true` into the same container, docker command line"
_NOOP = "call of the toolhost that does nothing, over the attached stdio"
_BASH = "Bash tool running `true`: decision, durable audit intent, shell, result"

ROWS = (
    RowSpec("channel.noop_ms", "ms", _NOOP, goal=Goal("value", 0.6)),
    RowSpec("channel.noop_vs_docker_exec", "ms", _NOOP, _EXEC, Goal("ratio", 1 / 100)),
    RowSpec("channel.spawn_true_vs_docker_exec", "ms", "`true` spawned by the toolhost, until its exit", _EXEC),
    RowSpec("tool.bash_true_ms", "ms", _BASH),
    RowSpec("tool.bash_true_vs_docker_exec", "ms", _BASH, _EXEC, Goal("ratio", 1 / 10)),
    RowSpec("tool.bash_true_vs_docker_cli", "ms", _BASH, _CLI),
    RowSpec(
        "exec.concurrent100_vs_docker_exec",
        "ms",
        "100 `true` at once in one sandbox, until the last has ended",
        "100 docker execs at once into the same container, Engine API by hand",
        Goal("ratio", 1 / 10),
    ),
)

NOOPS = 20
BASHES = 10
AT_ONCE = 100


async def measure(rig: Rig) -> Mapping[str, Figure]:
    async with rig.session() as session, bash(session, "true", rig.directory / "calls") as bash_true:
        toolhost = session.toolhost
        container = await rig.container_of(session)

        async def execute() -> None:
            await rig.engine.execute(container, ["true"])

        async def executes() -> None:
            await asyncio.gather(*(execute() for _ in range(AT_ONCE)))

        async def spawns() -> None:
            await asyncio.gather(*(_true(toolhost) for _ in range(AT_ONCE)))

        rig.say("one call at a time, ours and the engine's in turn")
        sides = {
            "noop": repeated(NOOPS, toolhost.ping),
            "spawn": repeated(BASHES, lambda: _true(toolhost)),
            "bash": repeated(BASHES, bash_true),
            "exec": timed(execute),
        }
        if docker_cli.available():
            sides["cli"] = timed(lambda: docker_cli.docker("exec", container, "true"))
        one = await interleaved(rig.rounds(25, 5), sides)
        rig.say(f"{AT_ONCE} at once, ours and the engine's in turn")
        many = await interleaved(rig.rounds(3, 1), {"spawn": timed(spawns), "exec": timed(executes)}, warm_up=False)
    figures = {
        "channel.noop_ms": Figure(median(one["noop"])),
        "channel.noop_vs_docker_exec": Figure.compared(one["noop"], one["exec"]),
        "channel.spawn_true_vs_docker_exec": Figure.compared(one["spawn"], one["exec"]),
        "tool.bash_true_ms": Figure(median(one["bash"])),
        "tool.bash_true_vs_docker_exec": Figure.compared(one["bash"], one["exec"]),
        "exec.concurrent100_vs_docker_exec": Figure.compared(many["spawn"], many["exec"]),
    }
    if "cli" in one:
        figures["tool.bash_true_vs_docker_cli"] = Figure.compared(one["bash"], one["cli"])
    return figures


async def _true(toolhost: Toolhost) -> None:
    process = await toolhost.spawn(["/bin/true"], cwd="/tmp")
    if (await process.wait()).code != 0:
        raise RuntimeError("true failed in the sandbox")


GROUP = Group("calls", ROWS, measure)
