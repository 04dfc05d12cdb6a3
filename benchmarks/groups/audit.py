"""How fast the audit log makes intents durable, against the disk's own bare minimum."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from benchmarks.durable import audit_log, synced_append
from benchmarks.group import Group
from benchmarks.rig import Rig
from benchmarks.rows import Figure, RowSpec
from benchmarks.sampling import Side, interleaved, timed
from gateway.audit.log import AuditLog

__all__ = ["GROUP"]

WRITERS = (1, 10, 100)
EVENT_BYTES = 512
_APPEND = "512 bytes appended to a file and synced, on the same disk"

ROWS = (
    RowSpec("audit.intent_ms", "ms", "a tool call's intent until it is on disk, one at a time", _APPEND),
    *(
        RowSpec(
            f"audit.durable_per_s.c{writers}",
            "1/s",
            f"intents made durable a second by {writers} concurrent writer{'s' if writers > 1 else ''}",
            "synced appends a second, one after another (higher is better)",
        )
        for writers in WRITERS
    ),
)

_BODY = {
    "turn": "turn_0123456789abcdef",
    "agent": "",
    "call": "toolu_0123456789abcdef01234567",
    "tool": "Bash",
    "input": {"command": "pytest -q tests/unit && git status --short", "description": "Run the unit tests"},
    "effect": "execute",
    "decision": "sandboxed",
}


async def measure(rig: Rig) -> Mapping[str, Figure]:
    rig.say("durable intents and synced appends in turn")
    each = 20 if rig.quick else 50
    async with audit_log(rig.directory / "audit") as audit:
        with synced_append(rig.directory, EVENT_BYTES) as append:
            one = await interleaved(
                rig.rounds(200, 30), {"intent": timed(lambda: _intents(audit, 1)), "append": timed(append)}
            )
            sides: dict[str, Side] = {f"c{writers}": _rate(audit, writers, each) for writers in WRITERS}

            async def appends() -> Sequence[float]:
                began = time.perf_counter()
                for _ in range(each):
                    await append()
                return [each / (time.perf_counter() - began)]

            rates = await interleaved(rig.rounds(5, 2), {**sides, "append": appends})
    figures = {"audit.intent_ms": Figure.compared(one["intent"], one["append"])}
    for writers in WRITERS:
        figures[f"audit.durable_per_s.c{writers}"] = Figure.compared(rates[f"c{writers}"], rates["append"])
    return figures


def _rate(audit: AuditLog, writers: int, each: int) -> Side:
    """Intents a second while `writers` write `each` intents one after another."""

    async def side() -> Sequence[float]:
        began = time.perf_counter()
        await asyncio.gather(*(_intents(audit, each) for _ in range(writers)))
        return [writers * each / (time.perf_counter() - began)]

    return side


async def _intents(audit: AuditLog, count: int) -> None:
    for _ in range(count):
        await audit.intent("tool.intent", session="s-benchmark", principal="benchmark", body=_BODY)


GROUP = Group("audit", ROWS, measure, needs_engine=False)
