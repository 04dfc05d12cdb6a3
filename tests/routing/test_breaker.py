"""When an upstream is left alone, and how it comes back."""

from __future__ import annotations

import pytest

from gateway.routing.breaker import Breaker, Trial


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, window=60, rest=15, clock=clock)


def begun(breaker: Breaker) -> Trial:
    trial = breaker.begin()
    assert trial is not None
    return trial


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        trial = begun(breaker)
        trial.failed()
        trial.over()


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert (breaker.state, breaker.allows) == ("closed", True)
    fail(breaker)
    assert (breaker.state, breaker.allows, breaker.begin()) == ("open", False, None)


def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    begun(breaker).succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_failures_long_ago_do_not_count(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 2)
    clock.now += 61
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_after_the_rest_one_call_at_a_time_may_try(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 14
    assert (breaker.begin(), breaker.rest_left) == (None, 1)
    clock.now += 1
    states = [breaker.state]
    trial = begun(breaker)
    assert breaker.begin() is None
    trial.succeeded()
    trial.over()
    assert [*states, breaker.state] == ["half-open", "closed"]
    assert begun(breaker) is not None


def test_a_failed_trial_opens_it_for_another_rest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 15
    fail(breaker)
    assert (breaker.state, breaker.rest_left) == ("open", 15)


def test_a_trial_that_was_given_up_leaves_room_for_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 15
    begun(breaker).over()
    assert breaker.state == "half-open"
    assert breaker.begin() is not None


def test_calls_from_before_it_opened_neither_close_it_nor_lengthen_its_rest(breaker: Breaker, clock: Clock) -> None:
    early, late = begun(breaker), begun(breaker)
    fail(breaker, 3)
    clock.now += 5
    early.succeeded()
    late.failed()
    assert (breaker.state, breaker.rest_left) == ("open", 10)


def test_a_stream_that_breaks_off_later_counts_although_it_began_well(breaker: Breaker) -> None:
    trials = [begun(breaker) for _ in range(3)]
    for trial in trials:
        trial.succeeded()
    for trial in trials:
        trial.failed()
    assert breaker.state == "open"


def test_one_with_zero_failures_never_opens(clock: Clock) -> None:
    breaker = Breaker(0, clock=clock)
    fail(breaker, 50)
    assert breaker.state == "closed"


def test_one_failure_is_enough_where_that_is_the_limit(clock: Clock) -> None:
    breaker = Breaker(1, clock=clock)
    fail(breaker)
    assert breaker.state == "open"
