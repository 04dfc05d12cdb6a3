"""A relay in front of a gateway that counts how often it is asked: the measure of a client's retries.

Passes bytes on in both directions; looks at request lines only.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator

import httpx

__all__ = ["CountingProxy", "counting_proxy"]

_POST = re.compile(rb"POST /v1/messages(?:\?\S*)? HTTP/1\.1\r\n")


class CountingProxy:
    """`posts`: model requests so far."""

    def __init__(self, url: str) -> None:
        self.posts = 0
        self._lock = threading.Lock()
        target = ("127.0.0.1", httpx.URL(url).port or 0)
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), socket.create_connection(target) as behind:
                    back = threading.Thread(target=_copy, args=(behind, self.request))
                    back.start()
                    outer._ask(self.request, behind)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _ask(self, client: socket.socket, behind: socket.socket) -> None:
        """A request line that comes in two pieces is found in the second."""
        rest = b""
        with contextlib.suppress(OSError):
            while piece := client.recv(65536):
                found = [match.end() for match in _POST.finditer(rest + piece)]
                with self._lock:
                    self.posts += len(found)
                rest = (rest + piece)[found[-1] if found else 0 :][-200:]
                behind.sendall(piece)
        with contextlib.suppress(OSError):
            behind.shutdown(socket.SHUT_WR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def counting_proxy(url: str) -> Iterator[CountingProxy]:
    """Relaying for a block."""
    proxy = CountingProxy(url)
    try:
        yield proxy
    finally:
        proxy.stop()
