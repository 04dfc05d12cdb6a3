"""Output of a program in the sandbox, read into this process, against a local pipe and against docker exec."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping

from benchmarks.group import Group
from benchmarks.rig import Rig
from benchmarks.rows import Figure, RowSpec
from benchmarks.sampling import interleaved, timed
from gateway.sandbox.session import Session

__all__ = ["GROUP"]

MIB = 1 << 20
READ_SIZE = 256 << 10
_LOCAL = "the same program on the host, read from its pipe by `subprocess`"
_EXEC = "docker exec of the same program, Engine API by hand"

ROWS = tuple(
    RowSpec(f"output.{size}mib{tail}", "ms", f"{size} MiB of a program's output, from spawn to exit", baseline)
    for size in (1, 64)
    for tail, baseline in (("_ms", _LOCAL), ("_vs_docker_exec", _EXEC))
)


async def measure(rig: Rig) -> Mapping[str, Figure]:
    async with rig.session() as session:
        small = await _measure(rig, session, 1, rig.rounds(15, 3))
        large = await _measure(rig, session, 64, rig.rounds(7, 2))
    return {**small, **large}


async def _measure(rig: Rig, session: Session, size: int, rounds: int) -> dict[str, Figure]:
    rig.say(f"{size} MiB of output: sandbox, host and docker exec in turn")
    container = await rig.container_of(session)
    program = ["head", "-c", str(size * MIB), "/dev/zero"]

    async def sandbox() -> None:
        process = await session.toolhost.spawn(program, cwd="/tmp")
        received = 0
        async for _, chunk in process.output():
            received += len(chunk)
        _whole(received, size)

    async def host() -> None:
        _whole(await asyncio.to_thread(_read_from, program), size)

    async def execute() -> None:
        _whole(await rig.engine.execute(container, program), size)

    samples = await interleaved(rounds, {"sandbox": timed(sandbox), "host": timed(host), "exec": timed(execute)})
    return {
        f"output.{size}mib_ms": Figure.compared(samples["sandbox"], samples["host"]),
        f"output.{size}mib_vs_docker_exec": Figure.compared(samples["sandbox"], samples["exec"]),
    }


def _read_from(program: list[str]) -> int:
    received = 0
    with subprocess.Popen(program, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), READ_SIZE):
            received += len(data)
    return received


def _whole(received: int, size: int) -> None:
    if received < size * MIB:
        raise RuntimeError(f"{received} bytes of output arrived instead of {size} MiB")


GROUP = Group("output", ROWS, measure)
