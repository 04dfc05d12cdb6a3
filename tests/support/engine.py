"""What the Docker engine says about the gateway's sandboxes, seen from outside the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import docker


@contextlib.contextmanager
def _engine() -> Iterator[docker.APIClient]:
    with contextlib.closing(docker.APIClient(version="auto", timeout=30)) as client:
        yield client


def processes(container: str) -> list[str]:
    """Command lines of everything that runs in a container."""
    with _engine() as client:
        listed = client.top(container, ps_args="-eo pid,args")
    return [str(row[-1]) for row in listed["Processes"]]


def run_in(container: str, *command: str) -> str:
    """Output of a command beside the gateway's own in a running container."""
    with _engine() as client:
        prepared = client.exec_create(container, list(command))
        output: bytes = client.exec_start(prepared["Id"])
    return output.decode()


def labels(container: str) -> dict[str, str]:
    """The labels that the broker put on a container."""
    with _engine() as client:
        found: dict[str, str] = client.inspect_container(container)["Config"]["Labels"]
    return found


def remaining(opened: Iterable[dict[str, Any]]) -> list[str]:
    """Containers, running or not, of sessions with these `session.open` events."""
    names: list[str] = []
    with _engine() as client:
        for event in opened:
            label = f"bulkhead.session={event['session']}"
            names += [entry["Names"][0] for entry in client.containers(all=True, filters={"label": label})]
    return names
