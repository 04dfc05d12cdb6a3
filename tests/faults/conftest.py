"""One gateway over the real engine for all cases that leave it whole; the others start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.places import Member, join, serving
from tests.support.scene_fixtures import upstream, upstream_port, upstream_url

__all__ = ["gateway", "member", "shared_gateway", "upstream", "upstream_port", "upstream_url"]


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "docker", "BULKHEAD_TOOL_OUTPUT_BYTES": str(8 * 1024 * 1024)}
    with serving(tmp_path_factory.mktemp("gateway"), upstream_url, **variables) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(shared_gateway: Gateway) -> Gateway:
    """Modules that break their gateway have one of their own under this name."""
    return shared_gateway


@pytest.fixture
def member(gateway: Gateway) -> Iterator[Member]:
    joined = join(gateway)
    yield joined
    gateway.close_sessions(joined.caller.key)
