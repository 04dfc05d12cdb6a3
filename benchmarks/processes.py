"""What processes weigh and use, from /proc and the control groups."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_mib", "cgroup_mib", "child_with", "cpu_ms", "parent_of", "pss_mib", "rss_mib"]

MIB = 1 << 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process, shared pages included."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def cpu_ms(pid: int) -> float:
    """Processor time a process has used so far, all its threads, user and system; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICKS_PER_SECOND


def pss_mib(pid: int) -> float:
    """Resident memory of a process, each shared page divided among those who share it."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def available_mib() -> float:
    """What the machine could still give away."""
    return _field(Path("/proc/meminfo"), "MemAvailable")


def cgroup_mib(pid: int) -> float | None:
    """What the kernel charges to the control group of a process, its page tables and other kernel memory
    included; None when the control groups are not visible."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            usage = Path(f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes")
        elif not controllers:
            usage = Path(f"/sys/fs/cgroup{path}/memory.current")
        else:
            continue
        if usage.exists():
            return int(usage.read_text()) / MIB
    return None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def child_with(pid: int, word: str) -> int | None:
    """The child process whose command line holds `word`."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if word.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
    return None


def _field(path: Path, name: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{path} has no {name}")
