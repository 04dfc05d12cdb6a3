"""Which processes belong to a call, and ending all of them.

A process is known by a tag: its hard limit of real-time run time, which means nothing to a process that has no
real-time priority, is inherited over fork, exec, setsid and double fork, can be read by everybody from
/proc/<pid>/limits, and can only ever be lowered. Each call gets a lower tag than the one before, so a process
can leave its call only for a later one, never for an earlier one or for none.
"""

from __future__ import annotations

import os
import resource
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator, Mapping
else:
    import _signal  # `signal` itself would import enum

_RTTIME = 15  # RLIMIT_RTTIME
_TAG_TOP = 1 << 46
_STOP_ROUNDS = 6
_KILL_ROUNDS = 200
_TIME_LIMIT = 2.0
_PAUSE = 0.0005
_GONE = "ZX"
_STOPPED = "Tt"
_LINE = b"Max realtime timeout"


class Tags:
    """Hands out tags, always downwards. The toolhost wears the newest itself, so nothing is ever restored."""

    def __init__(self) -> None:
        top = _TAG_TOP if os.getpid() == 1 else _TAG_TOP + (os.getpid() << 24)
        _, hard = resource.getrlimit(_RTTIME)
        self._next = top if hard == resource.RLIM_INFINITY or hard > top else hard - 1

    def wear(self) -> int:
        """Put the next tag on this process, so that the child spawned now inherits it."""
        tag = self._next
        resource.setrlimit(_RTTIME, (tag, tag))
        self._next = tag - 1
        return tag


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""
    finally:
        os.close(fd)


def tag_of(pid: int) -> int:
    """The tag of a process; 0 for none (it did not come from a call) or when it is gone."""
    limits = _read(f"/proc/{pid}/limits")
    at = limits.find(_LINE)
    if at < 0:
        return 0
    words = limits[at + len(_LINE) :].split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def state_of(pid: int) -> str:
    """The one-letter state of a process, X when it is gone."""
    stat = _read(f"/proc/{pid}/stat")
    at = stat.rfind(b") ")
    return chr(stat[at + 2]) if at >= 0 else "X"


def processes() -> Iterator[tuple[int, int]]:
    """(pid, tag) of every other process that has a tag, zombies included."""
    own = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            pid = int(name)
            if pid != own and pid != 1:
                tag = tag_of(pid)
                if tag:
                    yield pid, tag


def alive_by_tag() -> dict[int, int]:
    """How many live processes each tag has."""
    count: dict[int, int] = {}
    for pid, tag in processes():
        if state_of(pid) not in _GONE:
            count[tag] = count.get(tag, 0) + 1
    return count


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


class TreeKill:
    """One `process.kill`: ends every process with `tag`, and (as PID 1) every process with a tag nobody issued.

    As PID 1 with nobody else alive it is one kill(-1), atomic against fork. Otherwise the tree is frozen first
    (a stopped process cannot fork, and a bomb of stopped processes has used up its pids), then killed. A tree
    that will not hold still is frozen with everything else by kill(-1, SIGSTOP) for the few milliseconds it
    takes, and the others go on after it. The last resort ends the session's processes.
    """

    def __init__(self, tag: int, others: Mapping[int, bool]) -> None:
        # others: tag -> whether the main process of that call still runs
        self._tag = tag
        self._others = others
        self._init = os.getpid() == 1
        self._deadline = time.monotonic() + _TIME_LIMIT
        self._killed: set[int] = set()
        self.rounds = 0

    def run(self) -> dict[str, object]:
        first = list(self._targets())
        if not first:
            return self._result("call")
        alone = self._init and not any(self._others.values())
        alone = alone and not any(tag in self._others for tag in alive_by_tag())
        if alone:
            return self._everything("call")
        thaw: list[int] = []
        if not self._freeze_tree() and self._init:
            thaw = self._freeze_all()
        try:
            ended = self._kill_rounds()
        finally:
            for pid in thaw:
                _send(pid, _signal.SIGCONT)
        if not ended and self._init:
            return self._everything("session")
        return self._result("call")

    def _is_target(self, tag: int) -> bool:
        return tag == self._tag or (self._init and tag not in self._others)

    def _targets(self) -> Iterator[tuple[int, str]]:
        for pid, tag in processes():
            if self._is_target(tag):
                state = state_of(pid)
                if state not in _GONE:
                    yield pid, state

    def _freeze_tree(self) -> bool:
        """Stop the tree; true once a whole scan found nothing that still runs."""
        for _ in range(_STOP_ROUNDS if self._init else _KILL_ROUNDS):
            self.rounds += 1
            moving = False
            for pid, state in self._targets():
                if state not in _STOPPED:
                    _send(pid, _signal.SIGSTOP)
                    moving = True
            if not moving:
                return True
            if time.monotonic() > self._deadline:
                break
        return False

    def _freeze_all(self) -> list[int]:
        """Stop everything at once; returns the bystanders that have to go on afterwards."""
        resting = {pid for pid, tag in processes() if not self._is_target(tag) and state_of(pid) in _STOPPED}
        _send(-1, _signal.SIGSTOP)
        return [pid for pid, tag in processes() if not self._is_target(tag) and pid not in resting]

    def _kill_rounds(self) -> bool:
        for turn in range(_KILL_ROUNDS):
            self.rounds += 1
            found = False
            for pid, _ in self._targets():
                _send(pid, _signal.SIGKILL)
                self._killed.add(pid)
                found = True
            if not found:
                return True
            if time.monotonic() > self._deadline:
                return False
            if turn:
                time.sleep(_PAUSE)
        return False

    def _everything(self, scope: str) -> dict[str, object]:
        for turn in range(_KILL_ROUNDS):
            self.rounds += 1
            left = [pid for pid, _ in processes() if state_of(pid) not in _GONE]
            if not left:
                break
            self._killed.update(left)
            _send(-1, _signal.SIGKILL)
            if time.monotonic() > self._deadline + _TIME_LIMIT:
                break
            if turn:
                time.sleep(_PAUSE)
        return self._result(scope)

    def _result(self, scope: str) -> dict[str, object]:
        return {"killed": len(self._killed), "rounds": self.rounds, "scope": scope}
