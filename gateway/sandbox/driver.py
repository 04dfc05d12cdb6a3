"""Where a sandbox runs: the seam every driver implements, and what each must say about itself.

What a sandbox can do is the toolhost's affair (`toolhost.py`); a driver only opens one, carries its byte
stream and removes every trace of it. It must not know tools, sessions' owners or HTTP.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Protocol

from gateway.sandbox.stream import ByteStream
from gateway.sandbox.workspace import Workspace

__all__ = ["Driver", "Guarantees", "Sandbox", "SandboxSpec", "Workspace"]


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox, as far as a caller may choose it."""

    session: str
    """[a-z0-9-]{1,64}; on every label."""
    workspace: Workspace
    profile: str = "default"
    """Name of a profile the driver has."""


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What holds for every sandbox of a driver, whatever runs in it."""

    no_network: bool
    """Only a loopback interface, no route."""
    unprivileged: bool
    """Never uid 0, no capability, no new privileges."""
    readonly_root: bool
    """Nothing outside workspace, home, /tmp, /run and /dev/shm can be written."""
    system_call_filter: bool
    """An allow list of system calls and socket families."""
    memory_limit: bool
    """The sum over all its processes is capped; past it a child dies, not the session."""
    cpu_limit: bool
    """The sum over all its processes is capped."""
    process_limit: bool
    """The number of its processes is capped; no fork bomb reaches the host."""
    memory_file_quota: bool
    """/tmp and home have a size and a number of files."""
    own_filesystem: bool
    """Programs and libraries come from an image, not from the host."""
    masked_kernel_facts: bool
    """Kernel symbols, boot parameters, devices and firmware are hidden."""
    copy_workspaces: bool
    """mode "copy" works."""
    protected_paths: bool
    """What the host would execute or obey in a bound workspace is read-only."""
    not_enforced: tuple[str, ...] = ()
    """What a reader might expect and does not get, in plain sentences."""

    def rows(self) -> list[tuple[str, bool]]:
        """(name, holds) in order of declaration."""
        return [(item.name, bool(getattr(self, item.name))) for item in fields(self) if item.name != "not_enforced"]


class Sandbox(Protocol):
    """One running sandbox. Whoever opened it must close it."""

    @property
    def id(self) -> str:
        """Unique; the first characters tell sandboxes apart for people."""

    @property
    def name(self) -> str:
        """What the driver's own tools know it by: the container's name, or the process id of its init."""

    @property
    def driver(self) -> str: ...

    @property
    def profile_digest(self) -> str: ...

    @property
    def workspace(self) -> str:
        """Path of the workspace inside."""

    @property
    def uid(self) -> int:
        """Who everything inside runs as; never 0."""

    async def attach(self) -> ByteStream:
        """The toolhost's byte stream; once more after a stream broke, where the driver can (docker: yes;
        bubblewrap: the pipes are the sandbox's life, so no). Raises `SandboxGone` or `SandboxUnavailable`.
        """

    async def alive(self) -> bool:
        """Whether the toolhost runs. Raises `SandboxUnavailable` when that cannot be found out."""

    async def stderr_tail(self) -> str:
        """The last 8 KiB of what the toolhost wrote to stderr: untrusted text, for a person who looks for a
        cause.
        """

    async def close(self) -> None:
        """Kill everything and remove container, volumes and processes. Twice is once. Raises
        `SandboxUnavailable` when that could not be done; it may then be tried again, and `Driver.reap`
        finds it too.
        """


class Driver(Protocol):
    """Opens sandboxes in one way."""

    @property
    def name(self) -> str: ...

    @property
    def guarantees(self) -> Guarantees: ...

    async def start(self) -> None:
        """Prove that sandboxes can be opened, or raise `SandboxUnavailable` with what to do about it."""

    async def open(self, spec: SandboxSpec) -> Sandbox:
        """A running sandbox. Raises `WorkspaceRefused` or `SandboxUnavailable`; nothing is left behind then,
        nor when cancelled.
        """

    async def reap(self, keep: Collection[str]) -> list[str]:
        """Remove every sandbox of this gateway whose session is not in `keep`; what was removed."""

    async def aclose(self) -> None:
        """Give back what `start` took. Open sandboxes stay the business of whoever opened them."""
