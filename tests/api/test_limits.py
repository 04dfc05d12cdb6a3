"""Limits end a turn with an answer that explains itself, and leave a trace in the audit log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, serving
from tests.support.scenes import bash, calls, says, scene

SCENES = [
    scene("on and on", *(calls(bash(f"echo {step}")) for step in range(9))),
    scene("the same again", *(calls(bash("echo again")) for _ in range(9))),
    scene("wordy", *(calls(bash(f"echo {step}"), usage={"output_tokens": 300}) for step in range(9))),
    scene("flood", calls(bash("echo begin; yes flood")), says("${last_tool_result}")),
    scene("after the flood", calls(bash("echo alive; ps ax | grep -c '[y]es flood'")), says("${last_tool_result}")),
    scene("slow", calls(bash("echo begun > begun; sleep 304")), says("never")),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_MAX_STEPS": "4",
        "BULKHEAD_MAX_REPEATS": "2",
        "BULKHEAD_MAX_TURN_OUTPUT_TOKENS": "500",
        "BULKHEAD_TOOL_OUTPUT_BYTES": str(1024 * 1024),
    }
    with serving(tmp_path_factory.mktemp("gateway"), upstream_url, **variables) as running:
        yield running


def explained(answer: Answer, member: Member, gateway: Gateway, limit: str) -> str:
    """The explanation, which is the last text of an answer that ended well and is in the audit log as well."""
    assert (answer.status, answer.message["stop_reason"]) == (200, "end_turn")
    noted = gateway.event("limit.reached", member.subject)
    assert noted["limit"] == limit
    text = answer.texts[-1]
    assert text == f"[Bulkhead] {noted['message']} Send another message to go on."
    assert gateway.event("turn.end", member.subject)["error"] is None
    return text


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("prompt", "limit", "ran", "words"),
    [
        ("on and on", "max_steps", ["0", "1", "2", "3"], "after 4 model calls"),
        ("the same again", "max_repeats", ["again", "again"], "the same Bash call more than 2 times"),
        ("wordy", "max_turn_output_tokens", ["0", "1"], "after 600 output tokens; 500 are allowed"),
    ],
)
def test_a_model_that_does_not_stop_is_stopped(
    prompt: str, limit: str, ran: list[str], words: str, stream: bool, member: Member, gateway: Gateway
) -> None:
    answer = member.caller.ask(asking(prompt, BASH, stream=stream))
    assert words in explained(answer, member, gateway, limit)
    assert answer.results == ran
    assert len(gateway.events("tool.intent", member.subject)) == len(ran)


def test_a_conversation_goes_on_after_a_limit(member: Member) -> None:
    first = member.caller.ask(asking("on and on", BASH))
    history = [{"role": "user", "content": "on and on"}, first.assistant, {"role": "user", "content": "say ok"}]
    assert member.caller.ask(asking(history, BASH)).message["stop_reason"] == "end_turn"


def test_a_flood_of_output_is_stopped_and_the_session_lives_on(member: Member, gateway: Gateway) -> None:
    answer = member.caller.ask(asking("flood", BASH))
    [result] = answer.results
    assert "The command wrote more than 1 MiB and was stopped" in result
    assert "begin" in result and len(result) < 20_000
    [ended] = gateway.events("tool.result", member.subject)
    assert (ended["exit"], ended["facts"]["limit"]) == (137, "output_bytes")
    assert member.caller.ask(asking("after the flood", BASH)).results == ["alive\n0"]
    assert len(gateway.events("session.opened", member.subject)) == 1


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "bubblewrap", "BULKHEAD_MAX_TURN_SECONDS": "2"}
    with serving(tmp_path_factory.mktemp("hasty"), upstream_url, **variables) as running:
        yield running


def test_a_turn_that_takes_too_long_is_stopped_with_what_it_ran(hasty: Gateway) -> None:
    member = join(hasty)
    answer = member.caller.ask(asking("slow", BASH))
    assert "after 2 seconds" in explained(answer, member, hasty, "max_turn_seconds")
    assert (member.workspace / "begun").exists()
    assert hasty.event("tool.result", member.subject)["outcome"] == "cancelled"
