"""A bubblewrap process, its first process inside, and their pipes: started, watched, ended for certain.

It must not know workspaces, limits or the channel.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gateway.sandbox.errors import SandboxUnavailable
from gateway.sandbox.stream import STDERR_TAIL, PipeStream

__all__ = ["Child", "contents", "pipe_ends"]

START_SECONDS = 15.0
END_SECONDS = 15.0
LOOK_AGAIN = 0.001
"""Seconds between looks at whether the sandbox's first program has begun; nothing announces it."""

INFO_LIMIT = 64 * 1024


class Child:
    """A running bubblewrap. `init` is the first process inside, which takes everything inside with it when it
    dies.
    """

    def __init__(self, process: asyncio.subprocess.Process, init: int, stream: PipeStream, errors: "_Errors") -> None:
        self._process = process
        self._pidfd = os.pidfd_open(init)
        self._errors = errors
        self._ended = False
        self.init = init
        self.stream = stream

    @classmethod
    async def start(cls, command: Sequence[str], inherited: Sequence[int], told: int) -> "Child":
        """Run `command`, whose info descriptor is the other end of `told`. Returns when the program inside
        has begun. Raises `SandboxUnavailable` with what bubblewrap said; nothing is left behind then.
        """
        with ExitStack() as ours:
            with ExitStack() as theirs:
                stdin, write_end = _pipe(theirs, ours)
                read_end, stdout = _pipe(ours, theirs)
                errors_end, stderr = _pipe(ours, theirs)
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=inherited,
                    env={"PATH": os.environ.get("PATH", os.defpath)},
                )
            errors = _Errors(errors_end)
            try:
                async with asyncio.timeout(START_SECONDS):
                    init = await _first_process(told, process)
                    await _program_begun(process, init)
                stream = PipeStream(read_end, write_end)
                child = cls(process, init, stream, errors)
            except BaseException as error:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                ours.pop_all()
                for end in (read_end, write_end):
                    os.close(end)
                errors.close()
                if isinstance(error, (OSError, TimeoutError, ValueError)):
                    said = errors.text().strip() or str(error) or "no reason given"
                    raise SandboxUnavailable("bubblewrap", f"bubblewrap could not make the sandbox: {said}") from error
                raise
            ours.pop_all()
        return child

    @property
    def ended(self) -> bool:
        return self._ended or self._process.returncode is not None

    def stderr_tail(self) -> str:
        return self._errors.text()

    async def end(self) -> None:
        """Kill everything inside and wait until it is gone. Raises `SandboxUnavailable` when it does not go."""
        if self._ended:
            return
        if self._process.returncode is None:
            self._process.kill()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        try:
            async with asyncio.timeout(END_SECONDS):
                await _readable(self._pidfd)
                await self._process.wait()
        except TimeoutError as error:
            raise SandboxUnavailable("close", f"process {self.init} of a sandbox does not end") from error
        await self.stream.aclose()
        self._errors.close()
        os.close(self._pidfd)
        self._ended = True


class _Errors:
    """Reads a descriptor as it fills and keeps the tail."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = bytearray()
        self._open = True
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        self._kept += data
        del self._kept[:-STDERR_TAIL]
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """Take what is still there, and close the descriptor."""
        if self._open:
            self._open = False
            self._read()
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)


@contextmanager
def contents(data: bytes) -> Iterator[int]:
    """A descriptor from which exactly `data` can be read once."""
    descriptor = os.memfd_create("bulkhead", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def pipe_ends() -> Iterator[tuple[int, int]]:
    """(read, write), both closed at the end."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


async def _first_process(told: int, process: asyncio.subprocess.Process) -> int:
    """Process id of the first process inside, as bubblewrap tells it."""
    os.set_blocking(told, False)
    ended = asyncio.ensure_future(process.wait())
    text = b""
    try:
        while not text.rstrip().endswith(b"}"):
            ready = asyncio.ensure_future(_readable(told))
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                ready.cancel()
                await asyncio.gather(ready, return_exceptions=True)
                raise ValueError(f"it ended with code {process.returncode}")
            text += os.read(told, INFO_LIMIT)
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
    return int(json.loads(text)["child-pid"])


async def _program_begun(process: asyncio.subprocess.Process, init: int) -> None:
    """Until the first process inside is no longer bubblewrap itself: every mount is made then."""
    while True:
        if process.returncode is not None:
            raise ValueError(f"it ended with code {process.returncode}")
        try:
            program = _program_of(init)
        except PermissionError:
            return
        except FileNotFoundError as error:
            await process.wait()
            raise ValueError(f"it ended with code {process.returncode}") from error
        if program != "bwrap":
            return
        await asyncio.sleep(LOOK_AGAIN)


def _program_of(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").readlink().name


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
