"""A gateway that lives as long as the command that started it, out of reach of the terminal's Ctrl-C.

Knows how to start `bulkhead serve`, where its log is and how to end it; not what it is for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.common import CommandFailed
from gateway.settings import Settings

START_SECONDS = 90.0
STOP_SECONDS = 45.0

_LISTENING = b"listening on "
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class OwnGateway:
    """A running gateway: where it listens, where it writes its log, and the process."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def own_gateway(settings: Settings, workspace_root: Path) -> Iterator[OwnGateway]:
    """On a free loopback port, for what is in one directory. Raises `CommandFailed` if it does not start."""
    log = settings.data_dir / "own-gateway.log"
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        begin = os.lseek(written, 0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--host", "127.0.0.1", "--port", "0"],
            env={**os.environ, "WORKSPACE_ROOT": str(workspace_root), "BULKHEAD_DATA_DIR": str(settings.data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=written,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    finally:
        os.close(written)
    with process:
        try:
            yield OwnGateway(_until_listening(process, log, begin), log, process)
        finally:
            _stop(process)


def _end_with_parent() -> None:
    """In the child: SIGTERM when the command is gone, however it went."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _until_listening(process: subprocess.Popen[bytes], log: Path, begin: int) -> str:
    assert process.stdout is not None
    output = b""
    deadline = time.monotonic() + START_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            raise CommandFailed(f"the gateway did not start: {_last_line(log, begin)} Its log is {log}.")
        output += chunk
        for line in output.split(b"\n")[:-1]:
            if line.startswith(_LISTENING):
                return line.removeprefix(_LISTENING).decode()
    raise CommandFailed(f"the gateway did not listen within {START_SECONDS:g} s; its log is {log}.")


def _last_line(log: Path, begin: int) -> str:
    """What it said last, without the name that every message begins with."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").split("\n")
    said = [line for line in lines if line.startswith("bulkhead: ")]
    return said[-1].removeprefix("bulkhead: ") if said else "it said nothing."


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
