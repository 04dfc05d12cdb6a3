"""Self-protection: what makes the toolhost untouchable for the programs it starts, which share its uid.

Undumpable (no ptrace, no /proc/<pid>/mem), deaf to polite signals, last in the out-of-memory killer's queue.
"""

from __future__ import annotations

import _ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # `signal` itself would import enum

_THIS_PROGRAM: Any = None
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_OOM_CHILD = b"500"

RESET_IN_CHILDREN = [
    _signal.SIGTERM,
    _signal.SIGINT,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGPIPE,
    _signal.SIGXFSZ,
    _signal.SIGCHLD,
]


def _prctl(option: int, value: int) -> int:
    function = _ctypes.dlsym(_ctypes.dlopen(_THIS_PROGRAM, 2), "prctl")
    return int(_ctypes.call_function(function, (option, value, 0, 0, 0)))


class OomScore:
    """Raises the score while a child is being spawned, which inherits it, and takes it back afterwards.

    The descriptor is opened before the process becomes undumpable; afterwards /proc/self belongs to root."""

    def __init__(self) -> None:
        self._fd = -1
        self._own = b"0"
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own = os.pread(self._fd, 16, 0).strip()
        except OSError:
            return
        if int(self._own) >= int(_OOM_CHILD):
            os.close(self._fd)
            self._fd = -1

    def raise_for_child(self) -> None:
        self._write(_OOM_CHILD)

    def restore(self) -> None:
        self._write(self._own)

    def _write(self, value: bytes) -> None:
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, value, 0)
            except OSError:
                os.close(self._fd)
                self._fd = -1


def seal() -> None:
    """Make this process undumpable and prove it; a toolhost that cannot must not start a single program."""
    _prctl(_PR_SET_DUMPABLE, 0)
    if _prctl(_PR_GET_DUMPABLE, 0) != 0:
        raise SystemExit("toolhost: cannot become undumpable")
    if os.getpid() != 1:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _noted(_signal_number: int, _frame: object) -> None:
    """The wake-up descriptor did the work."""


def listen_for_children(wakeup: int) -> None:
    """Write a byte to `wakeup` whenever a child ended; ignore what programs could send to end the session."""
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, _noted)
