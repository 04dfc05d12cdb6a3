"""Step lines with elapsed seconds, for work that takes minutes: never silent for longer than ten seconds.

Writes text to one stream and knows nothing of what is being done.
"""

import threading
import time
from collections import deque
from types import TracebackType
from typing import TextIO

QUIET_SECONDS = 8.0
"""Longest silence before the latest output line is shown as a sign of life."""
KEPT_LINES = 25
"""How much of the output a failure shows."""


class Progress:
    """One step. Its own lines are printed; what a running tool prints is kept, and shown after a silence."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._started = time.monotonic()
        self._spoke = self._started
        self._latest = ""
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._pulse = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self.say(self._title)
        self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._pulse.join()

    def say(self, line: str) -> None:
        """Prints a line of our own."""
        with self._lock:
            self._print(line)

    def output(self, line: str) -> None:
        """Takes one line that the running tool printed."""
        text = line.strip()
        if text:
            with self._lock:
                self._latest = text
                self._kept.append(text)

    def tail(self) -> str:
        """The last lines of output, to show after a failure."""
        with self._lock:
            return "\n".join(f"    {line}" for line in self._kept)

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def _beat(self) -> None:
        while not self._done.wait(1.0):
            with self._lock:
                if time.monotonic() - self._spoke >= QUIET_SECONDS:
                    self._print(f"  … {self._latest[:100]}" if self._latest else "  … still working")

    def _print(self, line: str) -> None:
        self._spoke = time.monotonic()
        print(f"[{self.seconds():5.1f}s] {line}", file=self._stream, flush=True)
