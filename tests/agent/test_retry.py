"""Whether a failed model call inside a turn is tried again."""

from __future__ import annotations

import pytest

from gateway.agent.retry import ATTEMPTS, wait_before_retry
from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamTimeout


def error(status: int, retry_after: str | None = None, should_retry: bool | None = None) -> UpstreamError:
    return UpstreamError(status, "api_error", "no", retry_after=retry_after, should_retry=should_retry)


@pytest.mark.parametrize("failure", [error(529), error(500), error(429), error(503), UpstreamBroken("cut")])
def test_passing_troubles_are_worth_another_try(failure: UpstreamFailure) -> None:
    assert wait_before_retry(failure, 1) is not None
    assert wait_before_retry(failure, ATTEMPTS) is None


@pytest.mark.parametrize("failure", [error(400), error(413), error(404), error(500, should_retry=False)])
def test_refusals_are_not(failure: UpstreamFailure) -> None:
    assert wait_before_retry(failure, 1) is None


def test_silence_is_not_waited_for_twice() -> None:
    assert wait_before_retry(UpstreamTimeout("silent"), 1) is None


def test_the_upstream_says_how_long_to_wait_within_reason() -> None:
    assert wait_before_retry(error(429, retry_after="7"), 1) == 7
    assert wait_before_retry(error(429, retry_after="600"), 1) is None
    assert wait_before_retry(error(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), 1) is not None


def test_waits_grow() -> None:
    first, third = wait_before_retry(error(529), 1), wait_before_retry(error(529), 3)
    assert first is not None
    assert third is not None
    assert third > first
