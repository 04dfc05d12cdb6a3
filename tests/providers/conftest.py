from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from answering import Answer, Answering, AnsweringStarter, Asked
from upstream_process import Scripted, ScriptedProcess, UpstreamHere, UpstreamProcess


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[Scripted]:
    """Starts scripted upstreams on sockets of this process; they end with the test."""
    running: list[UpstreamHere] = []

    async def start(scenario: dict[str, Any]) -> UpstreamHere:
        running.append(await UpstreamHere.start(scenario, tmp_path / f"record-{len(running)}.jsonl"))
        return running[-1]

    yield start
    for upstream in running:
        await upstream.stop()


@pytest.fixture
async def scripted_process(tmp_path: Path) -> AsyncIterator[ScriptedProcess]:
    """Starts scripted upstreams as the separate processes they are elsewhere; they end with the test."""
    running: list[UpstreamProcess] = []

    async def start(scenario: dict[str, Any] | Path) -> UpstreamProcess:
        folder = tmp_path / f"process-{len(running)}"
        folder.mkdir()
        running.append(await UpstreamProcess.start(scenario, folder))
        return running[-1]

    yield start
    for process in running:
        await process.stop()


@pytest.fixture
async def answering() -> AsyncIterator[AnsweringStarter]:
    """Starts small servers that answer by a function; they end with the test."""
    running: list[Answering] = []

    async def start(answer: Callable[[Asked], Answer]) -> Answering:
        running.append(await Answering(answer).start())
        return running[-1]

    yield start
    for server in running:
        await server.stop()
