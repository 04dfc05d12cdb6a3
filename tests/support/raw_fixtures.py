"""Fixtures of an upstream that plays raw bytes, in place of one that plays scenarios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raw_upstream import RawUpstream

__all__ = ["raw", "upstream", "upstream_url"]


@pytest.fixture(scope="module")
def raw() -> Iterator[RawUpstream]:
    started = RawUpstream().start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def upstream_url(raw: RawUpstream) -> str:
    return raw.url


@pytest.fixture(scope="module", autouse=True)
def upstream() -> None:
    """No scenario is played here."""
