"""A unix socket in front of the real engine's that a test can cut, as if the engine had stopped."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class EngineSocket:
    """Passes bytes on, both ways, connection by connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.connect()

    def connect(self) -> None:
        """Take connections (again)."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(64)
        self._listener = listener
        self._begin(self._accept, listener)

    def drop(self) -> None:
        """End every connection; new ones are taken."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End every connection and take no more."""
        if self._listener is not None:
            self.path.unlink()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener = None
        self.drop()

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                far = socket.socket(socket.AF_UNIX)
                far.connect(ENGINE)
                with self._lock:
                    self._open += [near, far]
                self._begin(self._carry, near, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            with contextlib.suppress(OSError):
                while ready.get_map():
                    for key, _ in ready.select():
                        self._pass_on(ready, key)
        with self._lock:
            self._open = [end for end in self._open if end not in (near, far)]

    @staticmethod
    def _pass_on(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        source, sink = key.fileobj, key.data
        assert isinstance(source, socket.socket)
        data = source.recv(65536)
        if data:
            sink.sendall(data)
            return
        ready.unregister(source)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def engine_socket(path: Path) -> Iterator[EngineSocket]:
    made = EngineSocket(path)
    try:
        yield made
    finally:
        made.close()
