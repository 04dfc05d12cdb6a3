"""The calls: running programs, their output under credit, their exits.

Knows pipes, credit and exit order. Does not know how a program is started (spawn.py) or frames (link.py).
"""

from __future__ import annotations

import fcntl
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque

    from link import Link
    from loop import Loop
else:
    from _collections import deque

CREDIT = 256 << 10
CREDIT_LIMIT = 64 << 20
UNACKED_LIMIT = 8 << 20
REPORT_LIMIT = 4096
STDIN_LIMIT = 8 << 20
_CHUNK = 256 << 10
_PIPE_DEFAULT = 64 << 10
_PIPE_LARGE = 256 << 10
_FIONREAD = 0x541B


class Call:
    """One spawned program and what is still open of it."""

    def __init__(self, name: str, pid: int, tag: int) -> None:
        self.name = name
        self.pid = pid
        self.tag = tag
        self.running = True
        self.finished = False
        self.credit = CREDIT
        self.outputs: dict[int, int] = {}  # pipe -> stream number (1, 2; 0 = into the file)
        self.grown: set[int] = set()
        self.owed: dict[int, int] = {}  # pipe -> bytes that were written before the exit and are not sent yet
        self.status = 0
        self.file = -1
        self.file_room = 0
        self.report = -1
        self.stdin = -1
        self.stdin_bytes = 0
        self.stdin_queue: deque[tuple[int, memoryview, bool]] = deque()
        self.output_bytes = 0
        self.truncated = False


class Calls:
    """All calls of the session, running or remembered."""

    def __init__(self, loop: Loop, link: Link) -> None:
        self._loop = loop
        self._link = link
        self.by_name: dict[str, Call] = {}
        self._by_pid: dict[int, Call] = {}
        self._parked: list[tuple[Call, int]] = []
        link.on_room = self._room

    def add(self, call: Call) -> None:
        self.by_name[call.name] = call
        self._by_pid[call.pid] = call
        for pipe in call.outputs:
            os.set_blocking(pipe, False)
            self._watch(call, pipe)

    def reap(self) -> None:
        """Collect every ended child, ours or adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            call = self._by_pid.pop(pid, None)
            if call is not None:
                self._ended(call, status)

    # -- output ----------------------------------------------------------------------------------------------

    def _watch(self, call: Call, pipe: int) -> None:
        self._loop.watch(pipe, select.EPOLLIN, lambda _events: self._ready(call, pipe))

    def _ready(self, call: Call, pipe: int) -> None:
        self._pump(call, pipe)

    def _park(self, call: Call, pipe: int) -> None:
        self._loop.forget(pipe)
        self._parked.append((call, pipe))

    def _unpark(self) -> None:
        parked, self._parked = self._parked, []
        for call, pipe in parked:
            if pipe not in call.outputs:
                continue
            if call.finished or (call.credit > 0 and self._link.unacked_bytes < UNACKED_LIMIT):
                self._watch(call, pipe)
            else:
                self._parked.append((call, pipe))

    def _room(self) -> None:
        if self._parked and self._link.unacked_bytes < UNACKED_LIMIT:
            self._unpark()

    def grant(self, name: str, size: int) -> None:
        call = self.by_name.get(name)
        if call is not None:
            call.credit = min(call.credit + size, CREDIT_LIMIT)
            if self._parked:
                self._unpark()

    def _pump(self, call: Call, pipe: int) -> bool:
        """Move one chunk; true while more may be there at once."""
        stream = call.outputs[pipe]
        size = _CHUNK
        if stream and not call.finished:
            room = UNACKED_LIMIT - self._link.unacked_bytes
            size = min(size, call.credit, room)
            if size <= 0:
                self._park(call, pipe)
                return False
        if pipe in call.owed:
            size = min(size, call.owed[pipe])
        try:
            data = os.read(pipe, size)
        except BlockingIOError:
            data = None
        if data:
            self._carry(call, stream, data)
            if len(data) == _PIPE_DEFAULT and pipe not in call.grown:
                self._grow(call, pipe)
        elif data is not None:
            self._loop.forget(pipe)
            os.close(pipe)
            del call.outputs[pipe]
        if pipe in call.owed:
            call.owed[pipe] -= len(data) if data else call.owed[pipe]
            if not call.owed[pipe]:
                del call.owed[pipe]
                if not call.owed:
                    self._finish(call)
                return False
        if call.finished and not call.outputs:
            self._close_file(call)
        return bool(data)

    def _carry(self, call: Call, stream: int, data: bytes) -> None:
        if not stream:
            kept = data[: call.file_room]
            try:
                written = os.write(call.file, kept) if kept else 0
            except OSError:
                written = 0
            call.output_bytes += written
            call.file_room = call.file_room - written if written == len(kept) else 0
            call.truncated = call.truncated or written < len(data)
        elif not call.finished:
            call.credit -= len(data)
            call.output_bytes += len(data)
            self._link.send_output(call.name, stream, data)

    def _grow(self, call: Call, pipe: int) -> None:
        """A full read: a bigger pipe halves the switches between writer and toolhost."""
        call.grown.add(pipe)
        try:
            fcntl.fcntl(pipe, 1031, _PIPE_LARGE)  # F_SETPIPE_SZ
        except OSError:
            return

    # -- the end ---------------------------------------------------------------------------------------------

    def _ended(self, call: Call, status: int) -> None:
        call.running = False
        call.status = status
        self._close_stdin(call)
        for pipe in call.outputs:
            waiting = int.from_bytes(fcntl.ioctl(pipe, _FIONREAD, b"\0\0\0\0"), "little")
            if waiting:
                call.owed[pipe] = waiting
        if not call.owed:
            self._finish(call)
            return
        for pipe in list(call.owed):
            while self._pump(call, pipe):
                pass

    def _finish(self, call: Call) -> None:
        """Everything written before the exit is on its way: say so. What descendants write is thrown away."""
        call.finished = True
        report = None
        if call.report >= 0:
            try:
                report = os.read(call.report, REPORT_LIMIT).decode("utf-8", "replace") or None
            except BlockingIOError:
                report = None
            os.close(call.report)
            call.report = -1
        status = call.status
        self._link.send(
            {
                "method": "process.exit",
                "params": {
                    "call": call.name,
                    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                    "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                    "report": report,
                    "output_bytes": call.output_bytes,
                    "truncated": call.truncated,
                },
            }
        )
        if not call.outputs:
            self._close_file(call)
        elif self._parked:
            self._unpark()

    def _close_file(self, call: Call) -> None:
        if call.file >= 0:
            os.close(call.file)
            call.file = -1

    # -- input -----------------------------------------------------------------------------------------------

    def feed(self, call: Call, request: int, data: bytes, eof: bool) -> str:
        """Queue input for a program; the request is answered when the pipe took it. Non-empty: why not."""
        if call.stdin < 0:
            return "the program takes no input"
        if call.stdin_bytes + len(data) > STDIN_LIMIT:
            return "too much unread input"
        call.stdin_bytes += len(data)
        call.stdin_queue.append((request, memoryview(data), eof))
        if len(call.stdin_queue) == 1:
            self._pour(call)
        return ""

    def _pour(self, call: Call) -> None:
        queue = call.stdin_queue
        while queue:
            request, data, eof = queue[0]
            try:
                written = os.write(call.stdin, data) if data else 0
            except BlockingIOError:
                written = 0
            except BrokenPipeError:
                self._close_stdin(call)
                return
            call.stdin_bytes -= written
            if written < len(data):
                queue[0] = (request, data[written:], eof)
                self._loop.watch(call.stdin, select.EPOLLOUT, lambda _events: self._pour(call))
                return
            queue.popleft()
            self._link.send({"id": request, "result": {}})
            if eof:
                self._close_stdin(call)
                return
        self._loop.forget(call.stdin)

    def _close_stdin(self, call: Call) -> None:
        if call.stdin < 0:
            return
        self._loop.forget(call.stdin)
        os.close(call.stdin)
        call.stdin = -1
        while call.stdin_queue:
            request, _, _ = call.stdin_queue.popleft()
            self._link.send(
                {
                    "id": request,
                    "error": {
                        "code": -32000,
                        "message": "the program no longer reads its input",
                        "data": {"reason": "invalid"},
                    },
                }
            )
        call.stdin_bytes = 0
