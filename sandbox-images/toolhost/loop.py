"""The single-threaded event loop and the two threads beside it for long file work."""

from __future__ import annotations

import _queue
import _thread
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]
else:
    from _collections import deque

WORKERS = 2
_STACK = 1 << 20


class Loop:
    """epoll over callbacks. `after_batch(quiet)` runs after every round of events."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self.running = True

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self, after_batch: Callable[[bool], None], idle_wait: Callable[[], float]) -> None:
        callbacks = self._callbacks
        while self.running:
            ready = self._epoll.poll(idle_wait(), 64)
            for fd, events in ready:
                callback = callbacks.get(fd)
                if callback is not None:
                    callback(events)
            after_batch(not ready)


class Workers:
    """Runs jobs on at most WORKERS threads and their `done(result, error)` back on the loop."""

    def __init__(self, loop: Loop) -> None:
        self._jobs: _queue.SimpleQueue[Job] = _queue.SimpleQueue()
        self._results: deque[tuple[Any, Any, BaseException | None]] = deque()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        loop.watch(self._read, select.EPOLLIN, self._collect)
        self._started = 0
        self.waiting = 0

    def submit(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self.waiting += 1
        self._jobs.put((job, done))
        if self._started < WORKERS and self.waiting > self._started:
            _thread.stack_size(_STACK)
            _thread.start_new_thread(self._work, ())
            self._started += 1

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            try:
                self._results.append((done, job(), None))
            except Exception as error:  # noqa: BLE001 - carried to the loop, answered there
                self._results.append((done, None, error))
            try:
                os.write(self._write, b"x")
            except BlockingIOError:
                pass  # full: the loop has plenty of wake-ups waiting

    def _collect(self, _events: int) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            return
        while self._results:
            done, result, error = self._results.popleft()
            self.waiting -= 1
            done(result, error)
