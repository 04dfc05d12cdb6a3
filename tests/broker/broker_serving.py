"""A broker's server in a thread of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.broker.server import Server

__all__ = ["StartBroker", "serving"]

StartBroker = Callable[[], None]


@contextmanager
def serving(server: Server, path: Path) -> Iterator[None]:
    """A server in a thread for the length of a block; listening when the block begins."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        server.listening.wait(10)
        yield
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
        assert not path.exists()
