"""Claude Code does a task whose tools all run in the sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import engine
from tests.support.claude_code import STREAM_JSON, ClaudeCode
from tests.support.gateway import Gateway
from tests.support.project import Project, Script
from tests.support.scripts import bash, call, calls, says

pytestmark = pytest.mark.engine

LOCAL_TOOLS = ["WebFetch", "WebSearch", "Workflow", "EnterWorktree", "ExitWorktree", "Monitor", "DesignSync"]
WHERE = "echo host=$(hostname) uid=$(id -u) one=$(tr '\\0' ' ' </proc/1/cmdline); echo seen > /tmp/only-inside"


def test_bash_read_and_edit_of_a_task_all_run_in_the_container(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    file = project.write("greeting.txt", "hello world\n")
    edit = call("Edit", file_path=str(file), old_string="world", new_string="sandbox")
    upstream = script(
        {
            "turns": [
                calls(
                    {"text": "I look around."},
                    bash(WHERE),
                    expect={"tools_include": ["Bash", "Read", "Edit", "Agent"], "tools_exclude": LOCAL_TOOLS},
                ),
                calls(call("Read", file_path=str(file)), expect={"last_tool_result": {"contains": "uid=10001"}}),
                calls(edit, expect={"last_tool_result": {"contains": "1\thello world"}}),
                says("All done: ${nth_tool_result:1}", expect={"last_tool_result": {"contains": "has been updated"}}),
            ]
        }
    )
    run = claude.run("please do the task", *STREAM_JSON)
    assert run.status == 0, run.stdout + run.stderr

    # The work happened, and inside: names, ids and files that the host does not have.
    assert file.read_text() == "hello sandbox\n"
    assert os.stat(file).st_uid == 10001
    [container] = gateway.containers(project.subject)
    assert "host=sandbox uid=10001 one=python3" in run.result["result"]
    assert os.uname().nodename not in run.result["result"]
    assert not Path("/tmp/only-inside").exists()
    assert engine.run_in(container, "cat", "/tmp/only-inside") == "seen\n"

    # The log says so: each call's intent before its result, in the session that has this container.
    session = engine.labels(container)["bulkhead.session"]
    intents = gateway.events("tool.intent", project.subject)
    results = gateway.events("tool.result", project.subject)
    assert [event["tool"] for event in intents] == ["Bash", "Read", "Edit"]
    assert {event["session"] for event in [*intents, *results]} == {session}
    assert [result["intent"] for result in results] == [intent["seq"] for intent in intents]
    assert [result["outcome"] for result in results] == ["ok", "ok", "ok"]

    # And the CLI ran nothing: it was never sent a call that it could run, and never answered one.
    assert {block["type"] for block in run.blocks} == {"text", "server_tool_use", "code_execution_tool_result"}
    assert [message for message in run.messages if message["type"] == "user"] == []
    assert run.result["num_turns"] == 1
    assert len(upstream.asked()) == 4


def test_the_work_is_shown_in_tagged_text_and_the_answer_is_not(
    project: Project, script: Script, claude: ClaudeCode
) -> None:
    script({"turns": [calls({"text": "I count."}, bash("seq 3")), says("Three numbers.")]})
    run = claude.run("count", *STREAM_JSON)
    texts = [block for block in run.blocks if block["type"] == "text"]
    tagged = [text["text"] for text in texts if text.get("gateway", {}).get("display_only")]
    assert [text["text"] for text in texts if "gateway" not in text] == ["I count.", "Three numbers."]
    assert len(tagged) == 1
    assert tagged[0].startswith("Bash(seq 3) · sandbox ")
    assert "\n1\n2\n3\n" in tagged[0]


def test_print_mode_gives_the_final_answer_only(project: Project, script: Script, claude: ClaudeCode) -> None:
    script({"turns": [calls({"text": "I count."}, bash("seq 3")), says("Three numbers.")]})
    run = claude.run("count")
    assert (run.status, run.stdout) == (0, "Three numbers.\n")
