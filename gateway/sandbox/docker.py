"""The docker driver: hardened containers made by the broker, spoken to over their attached stdio.

It holds no engine socket and can ask only what the broker's fixed verbs allow. It must not know what
travels on the stream.
"""

import asyncio
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from gateway.broker.client import BrokerClient, Opened
from gateway.broker.errors import BrokerUnavailable, Refused
from gateway.sandbox.driver import Guarantees, SandboxSpec
from gateway.sandbox.errors import SandboxError, SandboxGone, SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.stream import STDERR_TAIL, AttachStream, ByteStream

__all__ = ["GUARANTEES", "DockerDriver", "DockerSandbox"]

GUARANTEES = Guarantees(
    no_network=True,
    unprivileged=True,
    readonly_root=True,
    system_call_filter=True,
    memory_limit=True,
    cpu_limit=True,
    process_limit=True,
    memory_file_quota=True,
    own_filesystem=True,
    masked_kernel_facts=True,
    copy_workspaces=True,
    protected_paths=True,
    not_enforced=(
        "Workspace files live on the host's disk (bind) or the engine's (copy, scratch): one file is capped, "
        "their sum is not.",
        "The kernel is shared with the host; a runtime such as runsc or kata (--runtime) gives a sandbox its own.",
        "Protected paths that do not exist when the sandbox opens can be created in it (bind); "
        "copy mode shows them in the diff instead.",
        "The names of host directories that are mounted can be read in /proc/self/mountinfo.",
    ),
)


class DockerSandbox:
    """A container of ours."""

    driver = "docker"

    def __init__(self, broker: BrokerClient, opened: Opened) -> None:
        self._broker = broker
        self._first: socket.socket | None = opened.stream
        self._stream: AttachStream | None = None
        self._earlier = ""
        self._closed = False
        self._closing = asyncio.Lock()
        self.name = opened.sandbox
        self.id = opened.sandbox.rpartition("-")[2]
        self.profile_digest = opened.profile_digest
        self.workspace = opened.workspace
        self.uid = opened.uid

    async def attach(self) -> ByteStream:
        if self._closed:
            raise SandboxGone(f"the sandbox {self.name} is closed", "closed")
        await self._close_stream()
        connection, self._first = self._first, None
        if connection is None:
            with _translated():
                if not (await self._broker.inspect(self.name))["running"]:
                    raise SandboxGone(f"the sandbox {self.name} has ended", "ended")
                connection = await self._broker.attach(self.name)
        self._stream = AttachStream(connection.detach())
        return self._stream

    async def alive(self) -> bool:
        if self._closed:
            return False
        try:
            with _translated():
                return bool((await self._broker.inspect(self.name))["running"])
        except SandboxGone:
            return False

    async def stderr_tail(self) -> str:
        current = self._stream.stderr_tail() if self._stream is not None else ""
        return (self._earlier + current)[-STDERR_TAIL:]

    async def close(self) -> None:
        async with self._closing:
            if self._closed:
                return
            if self._first is not None:
                self._first.close()
                self._first = None
            await self._close_stream()
            with _translated():
                await self._broker.close(self.name)
            self._closed = True

    async def _close_stream(self) -> None:
        if self._stream is not None:
            self._earlier = await self.stderr_tail()
            stream, self._stream = self._stream, None
            await stream.aclose()


class DockerDriver:
    """Sandboxes in containers, through a broker."""

    name = "docker"
    guarantees = GUARANTEES

    def __init__(self, broker: BrokerClient) -> None:
        self._broker = broker

    async def start(self) -> None:
        with _translated():
            await self._broker.hello()
            missing = [image["image"] for image in await self._broker.images() if not image["present"]]
        if missing:
            raise SandboxUnavailable(
                "missing_image", f"the engine has no image {', '.join(missing)}: run `bulkhead images build`"
            )

    async def open(self, spec: SandboxSpec) -> DockerSandbox:
        with _translated():
            opened = await self._broker.open(spec.session, spec.workspace.as_request(), spec.profile)
        return DockerSandbox(self._broker, opened)

    async def reap(self, keep: Collection[str]) -> list[str]:
        with _translated():
            return await self._broker.reap(keep)

    async def aclose(self) -> None:
        """Nothing is held: every request has a connection of its own."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokerUnavailable as error:
        raise SandboxUnavailable("broker", str(error)) from error
    except Refused as refusal:
        raise _as_sandbox_error(refusal) from refusal


def _as_sandbox_error(refusal: Refused) -> SandboxError:
    if refusal.reason == "workspace":
        return WorkspaceRefused(refusal.reason, refusal.message)
    if refusal.reason == "not_found":
        return SandboxGone(refusal.message, refusal.reason)
    return SandboxUnavailable(refusal.reason, refusal.message)
