"""Fixtures of a scripted upstream that plays what a test module brings as `SCENES`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import free_port
from tests.support.scripted import ScriptedUpstream

__all__ = ["upstream", "upstream_port", "upstream_url"]


@pytest.fixture(scope="session")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def upstream_url(upstream_port: int) -> str:
    return f"http://127.0.0.1:{upstream_port}"


@pytest.fixture(scope="module", autouse=True)
def upstream(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream_port: int
) -> Iterator[ScriptedUpstream]:
    """What the real API would refuse fails the module."""
    scenario = {"conversations": getattr(request.module, "SCENES", []), "models": ["model-a", "model-b", "model-c"]}
    started = ScriptedUpstream(scenario, tmp_path_factory.mktemp("upstream"), upstream_port)
    yield started
    started.stop()
    complaints = started.refused()
    assert not complaints, complaints
