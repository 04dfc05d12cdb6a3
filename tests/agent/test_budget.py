"""Limits of a turn: each ends it with an explained answer."""

from __future__ import annotations

import pytest

from gateway.agent.budget import Budget, LimitReached
from gateway.agent.facts import TurnLimits


def budget(steps: int = 3, repeats: int = 2, output_tokens: int | None = None) -> Budget:
    return Budget(TurnLimits(steps, 60.0, repeats, output_tokens, 25.0))


def test_the_number_of_model_calls_is_bounded() -> None:
    one = budget(steps=3)
    one.check_step(3)
    with pytest.raises(LimitReached, match="after 3 model calls") as caught:
        one.check_step(4)
    assert caught.value.limit == "max_steps"


def test_output_tokens_of_all_calls_are_bounded() -> None:
    one = budget(output_tokens=100)
    one.iterations.append({"output_tokens": 60})
    one.check_step(2)
    one.iterations.append({"output_tokens": 40})
    with pytest.raises(LimitReached, match="100 output tokens"):
        one.check_step(3)


def test_the_same_calls_again_and_again_are_stopped() -> None:
    one = budget(repeats=2)
    call = {"name": "Bash", "input": {"command": "ls", "timeout": 1}, "id": "a"}
    one.check_repeats([call])
    one.check_repeats([{"name": "Bash", "id": "b", "input": {"timeout": 1, "command": "ls"}}])
    with pytest.raises(LimitReached, match="same Bash call"):
        one.check_repeats([call])


def test_a_different_call_in_between_starts_the_count_anew() -> None:
    one = budget(repeats=2)
    for command in ("a", "a", "b", "a", "a"):
        one.check_repeats([{"name": "Bash", "input": {"command": command}}])


def test_one_model_call_is_told_as_it_was_counted() -> None:
    one = budget()
    assert one.usage() == [{"input_tokens": 0, "output_tokens": 0}]
    one.iterations.append({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1})
    assert one.usage() == one.usage(reads_iterations=False) == one.iterations


def test_usage_of_several_calls_is_their_sum_with_each_listed() -> None:
    one = budget()
    one.iterations += [{"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1}]
    one.iterations += [{"input_tokens": 30, "output_tokens": 7, "service_tier": "standard"}]
    (told,) = one.usage()
    assert (told["input_tokens"], told["output_tokens"], told["cache_read_input_tokens"]) == (40, 12, 1)
    assert [(item["type"], item["input_tokens"]) for item in told["iterations"]] == [("message", 10), ("message", 30)]


def test_a_client_that_does_not_read_the_list_is_told_call_by_call() -> None:
    one = budget()
    one.iterations += [{"input_tokens": 10, "output_tokens": 5}, {"input_tokens": 30, "output_tokens": 7}]
    first, last = one.usage(reads_iterations=False)
    assert first == {"input_tokens": 10, "output_tokens": 5}
    assert (last["input_tokens"], last["output_tokens"], len(last["iterations"])) == (30, 7, 2)


def test_counts_that_are_no_numbers_do_not_fail_the_turn() -> None:
    one = budget(output_tokens=100)
    one.iterations += [{"output_tokens": "many"}, {"output_tokens": [1]}, {"output_tokens": -5}, {"output_tokens": 40}]
    one.check_step(2)
