"""Which calls Claude Code gets to run itself, which the sandbox runs, and which nobody runs."""

from __future__ import annotations

import pytest

from tests.support import engine
from tests.support.claude_code import STREAM_JSON, ClaudeCode
from tests.support.gateway import Gateway
from tests.support.processes import until
from tests.support.project import Project, Script
from tests.support.scripts import bash, call, calls, says

pytestmark = pytest.mark.engine

RESULT = "${last_tool_result}"


def test_a_subagent_works_in_the_same_container_and_reports_back(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    agent = call("Agent", description="look", prompt="inspect the marker", subagent_type="general-purpose")
    upstream = script(
        {
            "conversations": [
                {
                    "name": "helper",
                    "match": {"subagent": True},
                    "turns": [calls(bash("cat /tmp/marker; pwd")), says("The helper saw: ${last_tool_result}")],
                },
                {
                    "name": "main",
                    "match": {"subagent": False},
                    "turns": [
                        calls(bash("echo from-main > /tmp/marker"), agent),
                        says("Told: ${last_tool_result}", expect={"last_tool_result": {"contains": "from-main"}}),
                    ],
                },
            ]
        }
    )
    run = claude.run("delegate", *STREAM_JSON)
    assert run.status == 0, run.stdout + run.stderr
    assert f"Told: The helper saw: from-main\n{project.path}" in run.result["result"]
    [container] = gateway.containers(project.subject)
    events = gateway.events("tool.intent", project.subject)
    assert [event["input"]["command"] for event in events] == ["echo from-main > /tmp/marker", "cat /tmp/marker; pwd"]
    assert [bool(event["agent"]) for event in events] == [False, True]
    assert {event["session"] for event in events} == {engine.labels(container)["bulkhead.session"]}
    assert [block["name"] for block in run.blocks if block["type"] == "tool_use"] == ["Agent"]
    assert len(upstream.asked("helper")) == 2


def test_a_tool_of_the_client_is_run_by_the_client_beside_a_sandboxed_call(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    task = call("TaskCreate", subject="write the report", description="soon")
    script(
        {
            "turns": [
                calls(bash("echo one"), task, bash("echo two")),
                says(
                    "Got ${nth_tool_result:1}, ${nth_tool_result:2}; ${nth_tool_result:3}.",
                    expect={"tool_result_count": 3},
                ),
            ]
        }
    )
    run = claude.run("plan", *STREAM_JSON)
    assert run.status == 0, run.stdout + run.stderr
    assert [block["name"] for block in run.blocks if block["type"] == "tool_use"] == ["TaskCreate"]
    assert [event["tool"] for event in gateway.events("tool.intent", project.subject)] == ["Bash", "Bash"]
    # The client's calls come last in the message, and so do their results.
    assert run.result["result"] == "Got one, two; Task #1 created successfully: write the report."


@pytest.mark.parametrize("tool", ["WebFetch", "Workflow", "Frobnicate"])
def test_a_tool_nobody_runs_is_answered_with_an_error_and_the_turn_goes_on(
    tool: str, gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    refusal = {"contains": f"No such tool available: {tool}", "is_error": True}
    script(
        {
            "turns": [
                calls(call(tool, url="https://example.com/", prompt="read")),
                calls(bash("echo still here"), expect={"last_tool_result": refusal}),
                says("${last_tool_result}"),
            ]
        }
    )
    run = claude.run("try it", *STREAM_JSON)
    assert run.result["result"] == "still here"
    assert [event["tool"] for event in gateway.events("tool.refused", project.subject)] == [tool]
    assert "tool_use" not in {block["type"] for block in run.blocks}


def test_a_file_outside_the_workspace_is_refused(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    script(
        {
            "turns": [
                calls(
                    call("Read", file_path=str(gateway.data_dir / "seal.key")),
                    call("Read", file_path=str(gateway.workspace_root)),
                    call("Write", file_path="/etc/cron.d/evil", content="x"),
                    bash(f"cat {gateway.data_dir}/seal.key"),
                ),
                says("${nth_tool_result:1}", expect={"tool_results": {n: {"is_error": True} for n in range(1, 5)}}),
            ]
        }
    )
    run = claude.run("break out", *STREAM_JSON)
    assert run.status == 0, run.stdout
    outcomes = [event["outcome"] for event in gateway.events("tool.result", project.subject)]
    assert outcomes == ["error"] * 4


def test_a_background_command_outlives_its_call_and_is_stopped_by_its_id(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    started = {"contains": "/running in background with ID: b[0-9a-z]{8}\\./", "is_error": False}
    script(
        {
            "turns": [
                calls(bash("sleep 301", run_in_background=True)),
                says(RESULT, expect={"last_tool_result": started}),
            ]
        }
    )
    told = claude.run("start it").stdout
    job = told.partition("with ID: ")[2].partition(".")[0]
    [container] = gateway.containers(project.subject)
    until(lambda: "sleep 301" in engine.processes(container), "the background command in the container")

    stopped = {"contains": f"Successfully stopped task: {job} (sleep 301)"}
    answers = [calls(call("TaskStop", task_id=job)), says(RESULT, expect={"last_tool_result": stopped})]
    script({"conversations": [{"match": {"user": "stop it"}, "turns": answers}]})
    run = claude.run("stop it", "--continue", *STREAM_JSON)
    assert "Successfully stopped task" in run.result["result"]
    assert "tool_use" not in {block["type"] for block in run.blocks}
    until(lambda: "sleep 301" not in engine.processes(container), "its end")
