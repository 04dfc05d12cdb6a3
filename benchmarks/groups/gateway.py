"""What the gateway adds to a plain answer of the model, and what its processes weigh before and after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from benchmarks import servers
from benchmarks.group import Group
from benchmarks.messages_client import MessagesClient, Times
from benchmarks.processes import child_with, rss_mib
from benchmarks.rig import IMAGE, Rig
from benchmarks.rows import Figure, RowSpec
from benchmarks.sampling import interleaved

__all__ = ["GROUP"]

CLIENTS = (1, 16)
_DIRECT = "the same request straight to the same upstream (the value is the median of the differences)"

ROWS = (
    *(
        RowSpec(
            f"gateway.added_ms{kind}.c{clients}", "ms", f"{what}, {clients} at a time, through the gateway", _DIRECT
        )
        for kind, what in (
            ("", "a whole answer"),
            (".stream", "a streamed answer"),
            (".first_byte", "the first byte of a streamed answer"),
        )
        for clients in CLIENTS
    ),
    RowSpec("gateway.rss_mib", "MiB", "the gateway process after its start"),
    RowSpec("gateway.rss_loaded_mib", "MiB", "the gateway process after the requests of the rows above"),
    RowSpec("broker.rss_mib", "MiB", "the broker process of that gateway"),
)


async def measure(rig: Rig) -> Mapping[str, Figure]:
    figures: dict[str, Figure] = {}
    async with (
        servers.upstream(rig.directory) as upstream,
        servers.gateway(rig.directory, rig.workspace, upstream, IMAGE) as gateway,
        contextlib.aclosing(MessagesClient(gateway.url, gateway.key, max(CLIENTS))) as ours,
        contextlib.aclosing(MessagesClient(upstream, "none", max(CLIENTS))) as direct,
    ):
        figures["gateway.rss_mib"] = Figure(rss_mib(gateway.pid))
        for clients in CLIENTS:
            for stream in (False, True):
                rounds = rig.rounds(120, 20) if clients == 1 else rig.rounds(20, 4)
                figures |= await _added(rig, ours, direct, clients, stream, rounds)
        figures["gateway.rss_loaded_mib"] = Figure(rss_mib(gateway.pid))
        broker = child_with(gateway.pid, "gateway.broker")
        if broker is not None:
            figures["broker.rss_mib"] = Figure(rss_mib(broker))
    return figures


async def _added(
    rig: Rig, ours: MessagesClient, direct: MessagesClient, clients: int, stream: bool, rounds: int
) -> dict[str, Figure]:
    kind = "streamed" if stream else "whole"
    rig.say(f"{kind} answers, {clients} at a time, through the gateway and direct in turn")
    times: dict[str, list[Times]] = {"ours": [], "direct": []}

    async def ask(name: str, client: MessagesClient) -> list[float]:
        taken = await asyncio.gather(*(client.ask(stream=stream) for _ in range(clients)))
        times[name].extend(taken)
        return [one.whole for one in taken]

    whole = await interleaved(rounds, {"ours": lambda: ask("ours", ours), "direct": lambda: ask("direct", direct)})
    added = Figure.added(whole["ours"], whole["direct"])
    if not stream:
        return {f"gateway.added_ms.c{clients}": added}
    first = {name: [one.first_byte for one in taken] for name, taken in times.items()}
    return {
        f"gateway.added_ms.stream.c{clients}": added,
        f"gateway.added_ms.first_byte.c{clients}": Figure.added(first["ours"], first["direct"]),
    }


GROUP = Group("gateway", ROWS, measure)
