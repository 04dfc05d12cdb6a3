"""What the demo must not leave behind: looked for after everything was told to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from gateway.broker.engine import Engine
from gateway.broker.errors import Refused
from gateway.demo.processes import Alive, still_running
from gateway.launch import gateway_id
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Names of what is still there; `unknown` says what could not be looked for."""

    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """`processes: sleep (42)` for each kind of which something is left."""
        named = [(item.name, getattr(self, item.name)) for item in fields(self)]
        return [f"{name}: {', '.join(found)}" for name, found in named if found]


def look(settings: Settings, *, docker: bool, processes: Collection[Alive], root: Path | None) -> Leftovers:
    """Look for what is left and remove it. `root` None: the directory stays because it was asked for.

    Processes and containers are only those of this demo: by start time, and by the label of its gateway.
    """
    left = still_running(processes)
    for alive in left:
        with suppress(ProcessLookupError):
            os.kill(alive.pid, signal.SIGKILL)
    containers, volumes, unknown = _in_engine(settings) if docker else ((), (), ())
    return Leftovers(
        containers,
        volumes,
        tuple(f"{alive.name} ({alive.pid})" for alive in left),
        (str(root),) if root is not None and root.exists() else (),
        unknown,
    )


def _in_engine(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    label = f"bulkhead={gateway_id(settings)}"
    engine = Engine(settings.docker_host.removeprefix("unix://"))
    try:
        containers = tuple(str(found["Names"][0]).lstrip("/") for found in engine.containers(label))
        for name in containers:
            engine.remove(name)
        volumes = tuple(str(found["Name"]) for found in engine.volumes(label))
        for name in volumes:
            engine.remove_volume(name)
    except Refused as refusal:
        return (), (), (f"the engine could not be asked ({refusal})",)
    return containers, volumes, ()
