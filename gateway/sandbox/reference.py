"""The tables of docs/sandbox.md, made from what the code declares. It must not know how they are published."""

from collections.abc import Iterable, Sequence

from gateway.broker.profile import MASKED_PATHS, READONLY_PATHS, limit_rows
from gateway.sandbox import bubblewrap, docker
from gateway.sandbox.driver import Guarantees

__all__ = ["guarantees_table", "limits_table", "not_enforced_list", "paths_table", "table"]

DRIVERS = {"docker": docker.GUARANTEES, "bubblewrap": bubblewrap.GUARANTEES}

MEANING = {
    "no_network": "only a loopback interface, no route",
    "unprivileged": "never uid 0, no capability, no new privileges",
    "readonly_root": "only workspace, home, /tmp, /run and /dev/shm can be written",
    "system_call_filter": "an allow list of system calls and socket families",
    "memory_limit": "all processes together; past it a child dies, not the session",
    "cpu_limit": "all processes together",
    "process_limit": "a fork bomb stays inside",
    "memory_file_quota": "/tmp and home have a size",
    "own_filesystem": "programs come from an image, not from the host",
    "masked_kernel_facts": "kernel symbols, boot parameters, devices and firmware are hidden",
    "copy_workspaces": "copy-on-write workspaces",
    "protected_paths": "what the host would execute or obey is read-only in a bound workspace",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def limits_table() -> str:
    rows = [(f"`{name}`", default, unit, reached) for name, default, unit, reached in limit_rows()]
    return table(("limit", "default", "unit", "when it is reached"), rows)


def guarantees_table() -> str:
    facts = {name: dict(guarantees.rows()) for name, guarantees in DRIVERS.items()}
    rows = [
        (f"`{name}`", meaning, *("yes" if facts[driver][name] else "**no**" for driver in DRIVERS))
        for name, meaning in MEANING.items()
    ]
    return table(("guarantee", "meaning", *DRIVERS), rows)


def not_enforced_list(guarantees: Guarantees) -> str:
    return "\n".join(f"- {sentence}" for sentence in guarantees.not_enforced)


def paths_table() -> str:
    return table(
        ("hidden", "read-only"),
        [(", ".join(f"`{path}`" for path in MASKED_PATHS), ", ".join(f"`{path}`" for path in READONLY_PATHS))],
    )
