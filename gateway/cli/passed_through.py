"""A program in the foreground as if it had been started directly: same terminal, signals and exit status."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence

CHECK_SECONDS = 5.0
"""How often the children are looked at without being told, should a notice have been lost."""

ENDED_SECONDS = 10.0
"""How long the program may take to end when what it needs is gone."""

_FORWARDED = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP}
_WATCHED = _FORWARDED | {signal.SIGCHLD}
_FROM_KERNEL = 0x80
"""`si_code` of a signal that the terminal sent: it went to the program as well."""


class NeededEnded(Exception):
    """The process that the program cannot do without has ended; the program was ended too."""


def run_in_foreground(
    command: Sequence[str], environment: Mapping[str, str], needs: subprocess.Popen[bytes] | None
) -> int:
    """Its exit status, 128 + n for signal n. Raises `NeededEnded` when `needs` ends first.

    The signals stay blocked in the caller afterwards, so that its cleaning up is not interrupted.
    """
    program = subprocess.Popen(command, env=dict(environment))
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    with program:
        while program.poll() is None:
            if needs is not None and needs.poll() is not None:
                _end(program)
                raise NeededEnded
            told = signal.sigtimedwait(_WATCHED, CHECK_SECONDS)
            if told is not None and told.si_signo in _FORWARDED and told.si_code != _FROM_KERNEL:
                program.send_signal(told.si_signo)
    status: int = program.returncode
    return status if status >= 0 else 128 - status


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(ENDED_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
