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


def test_usage_tells_how_full_the_context_is_and_what_was_written() -> None:
    one = budget()
    assert one.usage() == {"input_tokens": 0, "output_tokens": 0}
    one.iterations.append({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1})
    assert one.usage() == {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1}
    one.iterations.append({"input_tokens": 30, "output_tokens": 7})
    usage = one.usage()
    assert (usage["input_tokens"], usage["output_tokens"]) == (30, 12)
    assert [item["input_tokens"] for item in usage["iterations"]] == [10, 30]
