"""A child process of a test: started in a folder of its own, watched through its output, ended by its id.

Knows nothing of what runs in it. Output goes to files, so that no pipe can fill up and block the child.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

STARTED_SECONDS = 60.0
STOPPED_SECONDS = 60.0
POLL_SECONDS = 0.02

Found = TypeVar("Found")


def until(condition: Callable[[], Found | None], what: str, seconds: float = STARTED_SECONDS) -> Found:
    """What the condition returns once it is something; an `AssertionError` that says `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(POLL_SECONDS)
    return found


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def plain_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment with nothing of the host's in it but its search path."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **variables}


def alive(pid: int) -> bool:
    """Whether a process, whoever started it, is there and not just waiting to be collected."""
    try:
        about = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return about.rpartition(b")")[2].split()[0] != b"Z"


class ChildProcess:
    """A running program; `stdout` and `stderr` are what it wrote so far."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(env), cwd=cwd or folder
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self._out.read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text("utf-8", "replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def line_after(self, prefix: str) -> str:
        """The rest of the first line of its output that begins with `prefix`, once there is one."""

        def look() -> str | None:
            for line in self.stdout.splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith("\n"):
                    return line.removeprefix(prefix).strip()
            if not self.running:
                raise AssertionError(f"ended with {self._process.returncode}: {self.stderr[-2000:]}")
            return None

        return until(look, f"a line {prefix!r} of process {self.pid}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = STOPPED_SECONDS) -> int:
        """Its exit status, once it has one; it is killed when it does not end in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"process {self.pid} did not end within {seconds:g} s: {self.stderr[-2000:]}"
            ) from None

    def stop(self) -> int:
        """Ask it to end, and wait."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait()
