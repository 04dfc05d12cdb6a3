"""A broker in a thread of this process, and places to keep its socket and workspaces."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from broker_serving import StartBroker, serving

from gateway.broker.engine import Engine
from gateway.broker.server import Server
from gateway.broker.service import Broker


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory with a short path (a socket's name is at most 107 bytes)."""
    found = Path(tempfile.mkdtemp(prefix="bulkhead-broker-"))
    yield found
    shutil.rmtree(found)


@pytest.fixture
def project(place: Path) -> Path:
    """A directory that belongs to somebody who is not root."""
    found = place / "project"
    found.mkdir()
    if os.geteuid() == 0:
        os.chown(found, 1234, 1234)
    return found


@pytest.fixture
def start_broker(place: Path) -> Iterator[StartBroker]:
    """Starts a broker, stopped after the test, that has no engine."""
    with ExitStack() as held:

        def start() -> None:
            broker = Broker(Engine(str(place / "no-engine")), "test-broker", [place])
            held.enter_context(serving(Server(broker, place / "broker.sock"), place / "broker.sock"))

        yield start
