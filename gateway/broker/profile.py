"""The hardened profile: every limit and every allowance of a sandbox, in one typed place.

Nothing here talks to an engine. `digest()` names a profile exactly, seccomp filter included, so that a
running container can be told from one that was made by an older broker.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.broker.seccomp import seccomp_json

__all__ = [
    "HOME",
    "MASKED_PATHS",
    "READONLY_PATHS",
    "SCRATCH_MOUNT",
    "SCRATCH_UID",
    "SEARCH_PATH",
    "Limits",
    "Profile",
    "limit_rows",
]

KiB: Final = 1024
MiB: Final = 1024 * KiB
GiB: Final = 1024 * MiB

HOME: Final = "/home/agent"
SCRATCH_MOUNT: Final = "/workspace"
SCRATCH_UID: Final = 10001
"""Who the sandbox is where no workspace owner says otherwise."""

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/softirqs",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/block",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/notes",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/kernel/vmcoreinfo",
    "/sys/module",
)
"""Nothing to see there: the engine's own list, plus boot parameters, kernel symbols, devices and firmware."""

READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _limit(default: Any, unit: str, reached: str) -> Any:
    return field(default=default, metadata={"unit": unit, "reached": reached})


@dataclass(frozen=True)
class Limits:
    """How much of each thing one sandbox may use. Every field says its unit and what happens when it is
    reached.
    """

    memory: int = _limit(2 * GiB, "bytes", "the kernel kills the child that uses most; the session goes on. No swap")
    cpus: float = _limit(2.0, "processors", "everything in the sandbox is slowed down")
    pids: int = _limit(512, "processes and threads", "fork fails with EAGAIN")
    nofile: int = _limit(4096, "descriptors per process", "open fails with EMFILE")
    fsize: int = _limit(4 * GiB, "bytes per file", "write fails with EFBIG or the writer gets SIGXFSZ")
    core: int = _limit(0, "bytes per core dump", "no core dump is written")
    msgqueue: int = _limit(64 * KiB, "bytes of POSIX message queues", "mq_open fails with EMFILE")
    tmp: int = _limit(512 * MiB, "bytes in /tmp (memory)", "write fails with ENOSPC")
    tmp_inodes: int = _limit(65536, "files in /tmp", "create fails with ENOSPC")
    home: int = _limit(256 * MiB, "bytes in the home directory (memory)", "write fails with ENOSPC")
    home_inodes: int = _limit(32768, "files in the home directory", "create fails with ENOSPC")
    run: int = _limit(16 * MiB, "bytes in /run (memory)", "write fails with ENOSPC")
    run_inodes: int = _limit(4096, "files in /run", "create fails with ENOSPC")
    shm: int = _limit(64 * MiB, "bytes in /dev/shm (memory)", "write fails with ENOSPC")

    def __post_init__(self) -> None:
        held = self.tmp + self.home + self.run + self.shm
        if held * 2 > self.memory:
            raise ValueError(
                f"files kept in memory may use {held} bytes, more than half of the memory limit {self.memory}: "
                "filling them would end the sandbox instead of failing the write"
            )


@dataclass(frozen=True)
class Profile:
    """What the broker will create, and nothing else."""

    image: str = "bulkhead/sandbox-python:latest"
    limits: Limits = Limits()
    runtime: str = "runc"
    """OCI runtime as the engine names it: runc, crun, runsc, kata."""
    toolhost: str | None = None
    """Development only: a host directory mounted read-only over the image's toolhost."""
    seccomp: str = field(default_factory=seccomp_json, repr=False)
    """The filter's text: it travels with the request, no file on the engine's side is needed."""

    def digest(self) -> str:
        """sha256 over everything above and the fixed parts of the profile."""
        fixed = {
            "masked": MASKED_PATHS,
            "readonly": READONLY_PATHS,
            "home": HOME,
            "path": SEARCH_PATH,
            "shape": 1,
        }
        text = json.dumps({"profile": dataclasses.asdict(self), "fixed": fixed}, sort_keys=True)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def limit_rows() -> list[tuple[str, str, str, str]]:
    """(name, default, unit, what happens when reached) of every limit, for the documentation and its test."""
    rows = []
    for item in dataclasses.fields(Limits):
        rows.append((item.name, _shown(item.default), item.metadata["unit"], item.metadata["reached"]))
    return rows


def _shown(value: Any) -> str:
    for size, name in ((GiB, "GiB"), (MiB, "MiB")):
        if isinstance(value, int) and value >= size and value % size == 0:
            return f"{value // size} {name}"
    return str(value)
