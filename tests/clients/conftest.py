"""One gateway for all clients; a scenario, a project directory and a key for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.claude_code import ClaudeCode
from tests.support.gateway import Gateway
from tests.support.matrix import Matrix
from tests.support.processes import free_port
from tests.support.project import Json, Project, Script
from tests.support.scripted import ScriptedUpstream
from tests.support.wire_faults import CONVERSATIONS

MODELS = ["claude-scripted-1", "claude-scripted-2"]
"""The same for every upstream of the session: the gateway keeps the list for a while."""


@pytest.fixture(scope="session")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_port: int) -> Iterator[Gateway]:
    """One for the session; each test brings the upstream's scenario and a project of its own."""
    folder = tmp_path_factory.mktemp("gateway")
    root = tmp_path_factory.mktemp("projects")
    running = Gateway(folder, f"http://127.0.0.1:{upstream_port}", root, BULKHEAD_GRACE_SECONDS="1.5")
    yield running
    assert running.stop() == 0, running.process.stderr


@pytest.fixture
def script(tmp_path: Path, upstream_port: int) -> Iterator[Script]:
    """Starts the upstream with a scenario, in place of the one before. Its complaints fail the test."""
    started: list[ScriptedUpstream] = []

    def start(scenario: Json) -> ScriptedUpstream:
        for former in started:
            former.stop()
        scenario = {"models": MODELS, **scenario}
        started.append(ScriptedUpstream(scenario, tmp_path / f"upstream-{len(started)}", upstream_port))
        return started[-1]

    yield start
    for upstream in started:
        upstream.stop()
        assert upstream.refused() == []


@pytest.fixture
def project(gateway: Gateway) -> Iterator[Project]:
    """Its sessions are closed when the test ends."""
    made = Project.make(gateway)
    yield made
    gateway.close_sessions(made.key)


@pytest.fixture
def claude(gateway: Gateway, project: Project, tmp_path: Path) -> ClaudeCode:
    return ClaudeCode(tmp_path / "home", project.path, gateway.url, project.key)


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """A gateway over an upstream of every dialect. What any of them refused fails the session."""
    running = Matrix(tmp_path_factory.mktemp("matrix"), tmp_path_factory.mktemp("matrix-projects"), *CONVERSATIONS)
    yield running
    assert running.stop() == []
