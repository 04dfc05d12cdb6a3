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
_LOOKS = 3
_STOP_ROUNDS = 12
_STILL_ROUNDS = 100
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


def _newest_pid() -> bytes:
    """The pid that was given out last in this process namespace; b"" when the kernel does not say."""
    words = _read("/proc/loadavg").split()
    return words[4] if len(words) == 5 else b""


class TreeKill:
    """One `process.kill`: ends every process with `tag`, and (as PID 1) every process with a tag nobody issued.

    A look at /proc proves something only if no process was made meanwhile: processes that fork and exit all the
    time can hide from it. So either the newest pid stayed the same, or everything stands still.

    Alone in the sandbox it is one kill(-1), atomic against fork. Otherwise the tree is stopped (a stopped process
    cannot fork, and a bomb of stopped processes has used up its pids) and killed. A tree that will not hold still
    is stopped with everything else by kill(-1, SIGSTOP), atomic as well, for the few milliseconds it takes, and
    the others go on after it. The last resort ends every process of the session.
    """

    def __init__(self, tag: int, others: Mapping[int, bool]) -> None:
        # others: tag -> whether the main process of that call still runs
        self._tag = tag
        self._others = others
        self._init = os.getpid() == 1
        self._deadline = time.monotonic() + _TIME_LIMIT
        self._killed: set[int] = set()
        self._bystanders = False
        self.rounds = 0

    def run(self) -> dict[str, object]:
        if not self._init:
            self._chase(_KILL_ROUNDS)
            return self._result("call")
        for _ in range(_LOOKS):
            targets, sure = self._look()
            if sure:
                break
        if sure and not targets:
            return self._result("call")
        if sure and not self._bystanders and not any(self._others.values()):
            self._killed.update(pid for pid, _ in targets)
            return self._everything("call")
        if self._chase(_STOP_ROUNDS) or self._stand_still():
            return self._result("call")
        return self._everything("session")

    def _look(self) -> tuple[list[tuple[int, str]], bool]:
        """(pid, state) of the live targets, and whether that is certainly all of them."""
        before = _newest_pid()
        targets: dict[int, str] = {}
        self._bystanders = False
        # Twice: a child that was just being made has its pid before it can be seen, and its parent may be gone
        # when it can.
        for _ in range(2):
            for pid, tag in processes():
                state = state_of(pid)
                if state in _GONE:
                    continue
                if tag == self._tag or (self._init and tag not in self._others):
                    targets[pid] = state
                else:
                    self._bystanders = True
        return list(targets.items()), before != b"" and before == _newest_pid()

    def _chase(self, limit: int) -> bool:
        """Stop the tree, then kill it; true once a sure look found nothing. Touches no other call."""
        for turn in range(limit):
            self.rounds += 1
            targets, sure = self._look()
            if not targets and (sure or not self._init):
                return True
            moving = [pid for pid, state in targets if state not in _STOPPED]
            for pid in moving:
                _send(pid, _signal.SIGSTOP)
            if not moving or turn % 4 == 3:
                self._end(targets)
                time.sleep(_PAUSE)
            if time.monotonic() > self._deadline:
                break
        return False

    def _stand_still(self) -> bool:
        """Stop the whole sandbox, kill the tree in peace, let the others go on."""
        resting = {pid for pid, _ in processes() if state_of(pid) in _STOPPED}
        try:
            for _ in range(_STILL_ROUNDS):
                self.rounds += 1
                _send(-1, _signal.SIGSTOP)
                targets, _ = self._look()
                if not targets:
                    return True
                self._end(targets)
                time.sleep(_PAUSE)
        finally:
            for pid, tag in processes():
                if tag in self._others and pid not in resting:
                    _send(pid, _signal.SIGCONT)
        return False

    def _end(self, targets: list[tuple[int, str]]) -> None:
        for pid, _ in targets:
            _send(pid, _signal.SIGKILL)
            self._killed.add(pid)

    def _everything(self, scope: str) -> dict[str, object]:
        for turn in range(_KILL_ROUNDS):
            self.rounds += 1
            left = [pid for pid, _ in processes() if state_of(pid) not in _GONE]
            self._killed.update(left)
            if turn and not left:
                break
            _send(-1, _signal.SIGKILL)
            if time.monotonic() > self._deadline + _TIME_LIMIT:
                break
            if turn:
                time.sleep(_PAUSE)
        return self._result(scope)

    def _result(self, scope: str) -> dict[str, object]:
        return {"killed": len(self._killed), "rounds": self.rounds, "scope": scope}
