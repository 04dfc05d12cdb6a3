"""What an idle sandbox weighs on its machine, all told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from statistics import median

from benchmarks.group import Group
from benchmarks.processes import available_mib, cgroup_mib, child_with, parent_of, pss_mib, rss_mib
from benchmarks.rig import Rig
from benchmarks.rows import Figure, Goal, RowSpec

__all__ = ["GROUP"]

SANDBOXES = 10

ROWS = (
    RowSpec(
        "sandbox.idle_mib",
        "MiB",
        f"one of {SANDBOXES} idle sandboxes: what the machine has less available while they are open",
        goal=Goal("value", 15),
    ),
    RowSpec("sandbox.idle_cgroup_mib", "MiB", "what the kernel charges to an idle sandbox's own control group"),
    RowSpec(
        "sandbox.idle_pss_mib",
        "MiB",
        "an idle sandbox's toolhost and engine shim, shared pages divided",
    ),
    RowSpec("broker.rss_mib", "MiB", "the broker process that made those sandboxes"),
)


async def measure(rig: Rig) -> Mapping[str, Figure]:
    taken: list[float] = []
    charged: list[float] = []
    proportional: list[float] = []
    async with rig.sessions() as sessions:
        for number in range(1, rig.rounds(5, 2) + 1):
            rig.say(f"{SANDBOXES} idle sandboxes, round {number}")
            before = available_mib()
            for _ in range(SANDBOXES):
                session = await rig.open(sessions)
                await session.toolhost.ping()
            open_ = available_mib()
            for session in sessions.all():
                container = await rig.container_of(session)
                pid = await rig.engine.process_of(container)
                proportional.append(pss_mib(pid) + pss_mib(parent_of(pid)))
                usage = cgroup_mib(pid)
                if usage is not None:
                    charged.append(usage)
            still = available_mib()
            for session in sessions.all():
                await sessions.close(session, "measured")
            # Up and down: what others take or give back meanwhile counts once with each sign.
            taken += [(before - open_) / SANDBOXES, (available_mib() - still) / SANDBOXES]
        broker = child_with(os.getpid(), "gateway.broker")
        broker_mib = rss_mib(broker) if broker is not None else None
    figures = {
        "sandbox.idle_mib": Figure(median(taken)),
        "sandbox.idle_pss_mib": Figure(median(proportional)),
    }
    if broker_mib is not None:
        figures["broker.rss_mib"] = Figure(broker_mib)
    if charged:
        figures["sandbox.idle_cgroup_mib"] = Figure(median(charged))
    return figures


GROUP = Group("memory", ROWS, measure)
