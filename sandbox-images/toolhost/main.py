"""The toolhost: the one program of ours inside a sandbox. Composition and life cycle, nothing else.

Standard input and output are the channel, standard error is for one line before dying. End of input ends the
session and every process in it; a malformed frame ends it too, with exit code 70.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import sys

import guard
import wire
from calls import CREDIT, UNACKED_LIMIT, Calls
from link import Link
from loop import Loop, Workers
from methods import Methods
from paths import Roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

VERSION = 1
MALFORMED_EXIT = 70
CONFIG_EXIT = 64
_IDLE_ACK = 0.02
_SETPIPE_SZ = 1031
_PIPE_SIZE = 1 << 20
_VARIABLE = "BULKHEAD_TOOLHOST"


def _die(code: int, text: str) -> NoReturn:
    os.write(2, f"toolhost: {text}\n".encode("utf-8", "replace")[:2000])
    os._exit(code)


def _roots_of_environment() -> list[str]:
    try:
        config = wire.loads(os.environ.get(_VARIABLE, "").encode())
    except ValueError:
        _die(CONFIG_EXIT, f"{_VARIABLE} must hold a JSON object")
    roots = config.get("roots") if type(config) is dict else None
    if type(roots) is not list or not roots or any(type(r) is not str or not r.startswith("/") for r in roots):
        _die(CONFIG_EXIT, f"{_VARIABLE} must name absolute roots")
    return roots


def _widen(fd: int) -> None:
    """A larger pipe, so that a burst of output costs few switches; only pipes can, and none must."""
    try:
        fcntl.fcntl(fd, _SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        return


class _Session:
    def __init__(self, roots: list[str]) -> None:
        self._loop = Loop()
        nonce = os.urandom(wire.MARKER_SIZE)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        _widen(1)
        self._link = Link(0, 1, nonce, self._deliver, self._want_output)
        self._calls = Calls(self._loop, self._link)
        workers = Workers(self._loop)
        self._methods = Methods(self._link, self._calls, workers, Roots(roots))
        guard.seal()
        children, wakeup = os.pipe()
        os.set_blocking(children, False)
        os.set_blocking(wakeup, False)
        guard.listen_for_children(wakeup)
        self._children = children
        self._loop.watch(children, select.EPOLLIN, self._child_ended)
        self._loop.watch(0, select.EPOLLIN, self._input)
        self._link.send(
            {
                "method": "hello",
                "params": {
                    "version": VERSION,
                    "pid": os.getpid(),
                    "nonce": nonce.hex(),
                    "python": f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}",
                    "limits": {
                        "header": wire.HEADER_LIMIT,
                        "payload": wire.PAYLOAD_LIMIT,
                        "credit": CREDIT,
                        "unacked": UNACKED_LIMIT,
                    },
                },
            }
        )

    def run(self) -> None:
        self._link.flush()
        self._loop.run(self._after_batch, self._wait)
        self._methods.end_everything()
        self._calls.reap()

    def _deliver(self, header: dict[str, Any], payload: bytes) -> None:
        self._methods.deliver(header, payload)

    def _want_output(self, wanted: bool) -> None:
        if wanted:
            self._loop.watch(1, select.EPOLLOUT, lambda _events: None)
        else:
            self._loop.forget(1)

    def _input(self, _events: int) -> None:
        if not self._link.on_readable():
            self._loop.running = False

    def _child_ended(self, _events: int) -> None:
        try:
            os.read(self._children, 4096)
        except BlockingIOError:
            pass
        self._calls.reap()

    def _wait(self) -> float:
        """Wait for ever, unless an acknowledgement is due once it is quiet."""
        return _IDLE_ACK if self._link.has_unacked_input() else -1

    def _after_batch(self, quiet: bool) -> None:
        if quiet:
            self._link.idle()
        self._link.flush()


def main() -> None:
    """Run until the input ends."""
    gc.disable()
    os.umask(0o022)
    os.chdir("/")
    try:
        session = _Session(_roots_of_environment())
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()
        session.run()
    except wire.Malformed as error:
        _die(MALFORMED_EXIT, str(error))
    os._exit(0)
