"""One gateway for all of this folder; each module brings the model's part as `SCENES`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.places import Member, join, serving
from tests.support.scene_fixtures import upstream, upstream_port, upstream_url

__all__ = ["gateway", "member", "shared_gateway", "upstream", "upstream_port", "upstream_url"]


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    """Sandboxes by bubblewrap: they open in a few hundredths of a second, and nothing here is about the engine."""
    folder = tmp_path_factory.mktemp("gateway")
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_GRACE_SECONDS": "2.5",
        # What an upstream says is told at once, and one that failed is asked again by the next test.
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "1000",
    }
    with serving(folder, upstream_url, **variables) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(shared_gateway: Gateway) -> Gateway:
    """Modules that need other settings have a gateway of their own under this name."""
    return shared_gateway


@pytest.fixture
def member(gateway: Gateway) -> Member:
    return join(gateway)
