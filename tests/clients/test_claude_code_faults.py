"""Interrupted calls and broken streams: nothing runs on, nothing runs twice."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support import engine
from tests.support.claude_code import STREAM_JSON, ClaudeCode
from tests.support.gateway import Gateway
from tests.support.processes import until
from tests.support.project import Project, Script
from tests.support.scripts import bash, calls, says

pytestmark = pytest.mark.engine


def test_an_interrupted_call_ends_in_the_container_and_the_session_goes_on(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    after = {
        "name": "after",
        "match": {"user": "and now"},
        "turns": [calls(bash("cat /tmp/before")), says("${last_tool_result}")],
    }
    long = {
        "name": "long",
        "match": {"user": "take long"},
        "turns": [calls(bash("echo kept > /tmp/before; setsid sleep 302 & sleep 303")), says("never")],
    }
    script({"conversations": [long, after]})
    run = claude.start("take long", *STREAM_JSON)
    opened = gateway.event("session.opened", project.subject)
    [container] = gateway.containers(project.subject)
    sleeping = {"sleep 302", "sleep 303"}
    until(lambda: sleeping <= set(engine.processes(container)), "the command in the container")

    run.signal(signal.SIGINT)
    run.wait(20)
    ended = gateway.event("tool.result", project.subject, tool="Bash")
    assert (ended["outcome"], ended["session"]) == ("cancelled", opened["session"])
    until(lambda: not sleeping & set(engine.processes(container)), "the end of everything it had started", 10)

    assert claude.run("and now", "--continue").stdout == "kept\n"
    assert gateway.containers(project.subject) == [container]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"error_event": {}, "after_events": 1}, id="error event"),
        pytest.param({"cut": "close", "after_events": 1}, id="cut"),
        pytest.param({"malformed": True, "after_events": 1}, id="malformed"),
        pytest.param({"status": 500}, id="status 500"),
    ],
)
def test_a_failure_after_tools_ran_is_got_over_without_running_one_twice(
    fault: dict[str, Any], gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    script(
        {
            "turns": [
                calls(bash("echo once >> count.txt")),
                says("There: ${last_tool_result}", fault={**fault, "attempts": 1}),
            ]
        }
    )
    run = claude.run("count up")
    assert (run.status, run.stdout) == (0, "There: (Bash completed with no output)\n")
    assert (project.path / "count.txt").read_text() == "once\n"
    assert len(gateway.events("tool.intent", project.subject)) == 1


def test_a_stream_that_fails_before_its_first_block_is_asked_for_again_without_effect_on_tools(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    """The CLI silently posts the body once more, without `stream`; that is a second attempt at the same turn."""
    upstream = script(
        {
            "turns": [
                calls(
                    {"text": "I begin with some words."},
                    bash("echo once >> count.txt"),
                    fault={"error_event": {}, "after_events": 3, "attempts": 1},
                ),
                says("Done."),
            ]
        }
    )
    run = claude.run("count up")
    assert (run.status, run.stdout) == (0, "Done.\n")
    assert (project.path / "count.txt").read_text() == "once\n"
    assert len(gateway.events("turn.start", project.subject)) == 2
    assert [event["stream"] for event in gateway.events("turn.start", project.subject)] == [True, False]
    assert len(upstream.asked()) == 3
