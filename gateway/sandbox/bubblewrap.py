"""The bubblewrap driver: the same toolhost in namespaces of the host's own programs. No daemon, no image.

For a laptop or a first try; `guarantees` says plainly what it does not enforce. It must not know what
travels on the stream.
"""

import asyncio
import dataclasses
import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.broker.body import TOOLHOST
from gateway.broker.errors import Refused
from gateway.broker.profile import SEARCH_PATH, Limits
from gateway.broker.seccomp import seccomp_json
from gateway.broker.sources import Checked, check_workspace, refuse_swapped
from gateway.sandbox.bpf import compiled_filter
from gateway.sandbox.bubblewrap_command import HostFile, bubblewrap_command, made_up_etc
from gateway.sandbox.child import Child, contents, pipe_ends
from gateway.sandbox.driver import Guarantees, SandboxSpec, Workspace
from gateway.sandbox.errors import SandboxGone, SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.stream import ByteStream

__all__ = ["GUARANTEES", "BubblewrapDriver", "BubblewrapSandbox"]

GUARANTEES = Guarantees(
    no_network=True,
    unprivileged=True,
    readonly_root=True,
    system_call_filter=True,
    memory_limit=False,
    cpu_limit=False,
    process_limit=True,
    memory_file_quota=True,
    own_filesystem=False,
    masked_kernel_facts=False,
    copy_workspaces=False,
    protected_paths=True,
    not_enforced=(
        "Memory and processor time are not limited; files in /tmp, home and a scratch workspace have a size, "
        "but no limit on their number.",
        "The host's /usr is visible (read-only): programs and libraries are the host's.",
        "Everything under /proc of the sandbox's own processes and of the kernel is readable.",
        "Copy-on-write workspaces need the docker driver.",
        "The process limit needs Linux 5.14, the system call filter the host's libseccomp; "
        "without them `guarantees` of the running driver says so.",
        "A stream that broke cannot be attached again: the sandbox ends with it.",
        "The kernel is shared with the host.",
    ),
)

FIRST_WITH_OWN_COUNT = (5, 14)
"""Kernel since when the process limit counts inside the sandbox only."""

PROGRAMS = ("bwrap", "prlimit", "setpriv")


class BubblewrapSandbox:
    """A process tree of ours in namespaces of its own."""

    driver = "bubblewrap"

    def __init__(self, child: Child, checked: Checked, session: str, digest: str) -> None:
        self._child = child
        self._attached = False
        self._closing = asyncio.Lock()
        self.id = secrets.token_hex(6)
        self.name = f"pid {child.init}"
        self.session = session
        self.profile_digest = digest
        self.workspace = checked.mount
        self.uid = checked.uid

    @property
    def ended(self) -> bool:
        return self._child.ended

    async def attach(self) -> ByteStream:
        if self._attached or self._child.ended:
            raise SandboxGone("a bubblewrap sandbox ends with its stream", "ended")
        self._attached = True
        return self._child.stream

    async def alive(self) -> bool:
        return not self.ended

    async def stderr_tail(self) -> str:
        return self._child.stderr_tail()

    async def close(self) -> None:
        async with self._closing:
            await self._child.end()


class BubblewrapDriver:
    """Sandboxes made by `bwrap`, as the workspace's owner (a gateway that is root) or as the gateway's own
    user.
    """

    name = "bubblewrap"

    def __init__(self, roots: Sequence[Path], toolhost: Path, *, limits: Limits | None = None) -> None:
        self._roots = [root.resolve() for root in roots]
        self._toolhost = toolhost.resolve()
        self._limits = limits or Limits()
        self._filter = compiled_filter(seccomp_json())
        self._open: set[BubblewrapSandbox] = set()
        facts = {"limits": dataclasses.asdict(self._limits), "filter": seccomp_json() if self._filter else None}
        self._digest = "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        release = tuple(int(part) for part in platform.release().split(".")[:2])
        self.guarantees = dataclasses.replace(
            GUARANTEES,
            system_call_filter=self._filter is not None,
            process_limit=release >= FIRST_WITH_OWN_COUNT,
        )

    async def start(self) -> None:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            raise SandboxUnavailable("missing_program", f"not installed: {', '.join(missing)}")
        if shutil.which("python3", path=SEARCH_PATH) is None:
            raise SandboxUnavailable("missing_program", "the host has no python3 for the toolhost")
        trial = await self._spawn(self._checked(SandboxSpec("trial", Workspace("scratch"))), ["sleep", "60"])
        await trial.close()

    async def open(self, spec: SandboxSpec) -> BubblewrapSandbox:
        if spec.profile != "default":
            raise SandboxUnavailable("unknown_profile", f"no profile {spec.profile!r} here")
        sandbox = await self._spawn(self._checked(spec), None, spec.session)
        self._open = {item for item in self._open if not item.ended} | {sandbox}
        return sandbox

    async def reap(self, keep: Collection[str]) -> list[str]:
        """A sandbox never outlives its gateway, so only those of this process are there to find."""
        removed = []
        for sandbox in [item for item in self._open if item.session not in keep]:
            if await sandbox.alive():
                removed.append(sandbox.id)
            await sandbox.close()
            self._open.discard(sandbox)
        return removed

    async def aclose(self) -> None:
        """Nothing is held."""

    def _checked(self, spec: SandboxSpec) -> Checked:
        try:
            checked = check_workspace(spec.workspace.as_request(), self._roots)
        except Refused as refusal:
            raise WorkspaceRefused(refusal.reason, refusal.message) from refusal
        if checked.mode == "copy":
            raise WorkspaceRefused("workspace", "copy mode needs the docker driver")
        own = os.geteuid()
        if checked.mode == "scratch" and own != 0:
            return dataclasses.replace(checked, uid=own, gid=os.getegid())
        if own == 0 and checked.source is not None:
            closed = next(
                (one for one in Path(checked.source).parents if not _may_enter(one, checked.uid, checked.gid)), None
            )
            if closed is not None:
                raise WorkspaceRefused(
                    "workspace",
                    f"uid {checked.uid}, who owns {checked.source}, may not enter {closed}: open it to others "
                    "(chmod o+x), or use the docker driver",
                )
        if own not in (0, checked.uid):
            raise WorkspaceRefused(
                "workspace", f"{checked.source} belongs to uid {checked.uid}, and the gateway runs as uid {own}"
            )
        return checked

    async def _spawn(
        self, checked: Checked, program: Sequence[str] | None = None, session: str = "trial"
    ) -> BubblewrapSandbox:
        etc = made_up_etc(checked.uid, checked.gid)
        with ExitStack() as held:
            files = [HostFile(held.enter_context(contents(text.encode())), path) for path, text in etc.items()]
            shared = os.geteuid() != 0 or _open_to_all(self._toolhost)
            if not shared:
                # Who the sandbox runs as cannot go where the toolhost lies: its files are handed over open.
                for source in sorted(self._toolhost.glob("*.py")):
                    descriptor = held.enter_context(contents(source.read_bytes()))
                    files.append(HostFile(descriptor, f"{TOOLHOST}/{source.name}"))
            filtering = held.enter_context(contents(self._filter)) if self._filter is not None else None
            told, telling = held.enter_context(pipe_ends())
            command = bubblewrap_command(
                limits=self._limits,
                uid=checked.uid,
                gid=checked.gid,
                become=os.geteuid() == 0,
                limit_processes=self.guarantees.process_limit,
                toolhost=self._toolhost if shared else None,
                workspace=checked.mount,
                mounts=checked.mounts,
                files=files,
                filter_descriptor=filtering,
                info_descriptor=telling,
                program=program,
            )
            inherited = [item.descriptor for item in files] + [telling]
            if filtering is not None:
                inherited.append(filtering)
            child = await Child.start(command, inherited, told)
            try:
                refuse_swapped(checked, child.init)
            except Refused as refusal:
                await child.end()
                raise WorkspaceRefused(refusal.reason, refusal.message) from refusal
        return BubblewrapSandbox(child, checked, session, self._digest)


def _open_to_all(place: Path) -> bool:
    """Whether every user may read what lies in a directory."""
    return place.stat().st_mode & 0o005 == 0o005 and all(parent.stat().st_mode & 0o001 for parent in place.parents)


def _may_enter(directory: Path, uid: int, gid: int) -> bool:
    """Whether a user of one group may pass through a directory."""
    found = directory.stat()
    mine = 0o100 if found.st_uid == uid else 0o010 if found.st_gid == gid else 0o001
    return bool(found.st_mode & mine)
