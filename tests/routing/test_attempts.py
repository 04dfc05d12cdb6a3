"""What follows a failed attempt: the same upstream, the next one, or the end. Tables over a pure function."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.providers.base import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailure,
    UpstreamTimeout,
    refused_credential,
)
from gateway.routing.attempts import Attempt, GatewayHeldBack, asked_wait, counts_against, decide, told

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def error(status: int, retry_after: str | None = None, should_retry: bool | None = None) -> UpstreamError:
    return UpstreamError(status, "api_error", f"no {status}", retry_after=retry_after, should_retry=should_retry)


def attempt(number: int = 1, took: float = 0.1, left: float = 600.0, another: bool = False) -> Attempt:
    return Attempt(number, 3, took, left, another)


HELD_BACK = GatewayHeldBack("later", retry_after=3, reason="breaker")
SILENT = UpstreamTimeout("silent")
REFUSED = refused_credential("401")

TABLE: list[tuple[UpstreamFailure, Attempt, str, str]] = [
    (error(529), attempt(), "again", "passing trouble"),
    (error(500), attempt(), "again", "passing trouble"),
    (error(503), attempt(another=True), "again", "passing trouble"),
    (error(429), attempt(), "again", "passing trouble"),
    (error(408), attempt(), "again", "passing trouble"),
    (UpstreamBroken("reset"), attempt(), "again", "passing trouble"),
    (SILENT, attempt(took=10), "again", "passing trouble"),
    # Out of attempts, out of time, or a silence that nobody waits for twice.
    (error(529), attempt(number=3), "stop", "no attempts left"),
    (error(529), attempt(number=3, another=True), "next", "no attempts left"),
    (error(529), attempt(left=0, another=True), "stop", "out of patience"),
    (error(529, "2"), attempt(left=1.5), "stop", "out of patience"),
    (SILENT, attempt(took=600, left=300), "stop", "silent for long"),
    (SILENT, attempt(took=600, left=300, another=True), "next", "silent for long"),
    # Refusals of the request go to the client, whatever else there is.
    (error(400), attempt(another=True), "stop", "refused"),
    (error(413), attempt(another=True), "stop", "refused"),
    (error(422), attempt(another=True), "stop", "refused"),
    (error(400, should_retry=True), attempt(), "again", "passing trouble"),
    # What tells of this upstream only: another may do better, itself not.
    (error(404), attempt(), "stop", "will not pass"),
    (error(404), attempt(another=True), "next", "will not pass"),
    (error(403), attempt(another=True), "next", "will not pass"),
    (error(501), attempt(another=True), "next", "will not pass"),
    (REFUSED, attempt(), "stop", "will not pass"),
    (REFUSED, attempt(another=True), "next", "will not pass"),
    (error(529, should_retry=False), attempt(), "stop", "will not pass"),
    (error(429, should_retry=False), attempt(another=True), "next", "will not pass"),
    # How long an upstream may let us wait.
    (error(429, "2"), attempt(), "again", "passing trouble"),
    (error(429, "3"), attempt(), "stop", "asked to wait too long"),
    (error(429, "2"), attempt(another=True), "again", "passing trouble"),
    (error(429, "3"), attempt(another=True), "next", "asked to wait too long"),
    (error(529, "Sun, 22 Nov 2026 12:00:40 GMT"), attempt(), "stop", "asked to wait too long"),
    # Held back by the gateway itself: asking again would be held back again.
    (HELD_BACK, attempt(), "stop", "held back"),
    (HELD_BACK, attempt(another=True), "next", "held back"),
]


@pytest.mark.parametrize(("failure", "facts", "action", "reason"), TABLE)
def test_what_follows_a_failure(failure: UpstreamFailure, facts: Attempt, action: str, reason: str) -> None:
    decision = decide(failure, facts, chance=0.5, now=NOW)
    assert (decision.action, decision.reason) == (action, reason)


@pytest.mark.parametrize(
    ("number", "chance", "wait"), [(1, 0.0, 0.0), (1, 0.5, 0.25), (2, 0.5, 0.5), (3, 0.5, 1.0), (8, 0.5, 4.0)]
)
def test_waits_are_spread_from_nothing_to_a_longest_that_doubles_up_to_a_cap(
    number: int, chance: float, wait: float
) -> None:
    assert decide(error(529), Attempt(number, 10, 0.1, 600, False), chance=chance).wait == wait


def test_an_upstream_is_never_asked_sooner_than_it_said() -> None:
    for chance in (0.0, 0.5, 0.99):
        assert 2 <= decide(error(429, "2"), attempt(), chance=chance).wait < 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 12 ", 12.0),
        ("Sun, 22 Nov 2026 12:00:10 GMT", 10.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("nan", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str | None, seconds: float | None) -> None:
    assert asked_wait(error(429, text), NOW) == seconds


@pytest.mark.parametrize(
    ("failure", "counts"),
    [
        (error(500), True),
        (error(529), True),
        (UpstreamBroken("cut"), True),
        (SILENT, True),
        (error(429), False),
        (error(400), False),
        (error(404), False),
        (error(501), False),
        (REFUSED, False),
        (HELD_BACK, False),
    ],
)
def test_only_trouble_of_the_upstream_counts_for_its_breaker(failure: UpstreamFailure, counts: bool) -> None:
    assert counts_against(failure) is counts


OVERLOADED, LIMITED, MISSING = error(529), error(429, "60"), error(404)


@pytest.mark.parametrize(
    ("failures", "chosen"),
    [
        ([OVERLOADED, LIMITED], LIMITED),
        ([LIMITED, MISSING], LIMITED),
        ([LIMITED, REFUSED], LIMITED),
        ([LIMITED, HELD_BACK], LIMITED),
        ([MISSING, HELD_BACK], MISSING),
        ([HELD_BACK], HELD_BACK),
        ([REFUSED, MISSING], MISSING),
    ],
)
def test_the_client_is_told_the_failure_that_helps_it_most(
    failures: list[UpstreamFailure], chosen: UpstreamFailure
) -> None:
    assert told(failures) is chosen


def test_what_the_gateway_holds_back_is_told_as_overload_with_a_time() -> None:
    answer = HELD_BACK.answer
    assert (answer.status, answer.type, answer.headers) == (529, "overloaded_error", {"retry-after": "3"})
