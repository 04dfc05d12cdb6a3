"""The measurements, one group a file; `GROUPS` lists them in the order they run and are shown."""

from benchmarks.group import Group
from benchmarks.groups import audit, calls, gateway, memory, output, sessions

__all__ = ["GROUPS"]

GROUPS: tuple[Group, ...] = (
    calls.GROUP,
    sessions.GROUP,
    output.GROUP,
    gateway.GROUP,
    memory.GROUP,
    audit.GROUP,
)
