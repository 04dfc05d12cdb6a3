"""`--continue`: the conversation carries its own sandbox history, and the upstream sees it as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.claude_code import ClaudeCode
from tests.support.gateway import Gateway
from tests.support.project import Project, Script
from tests.support.scripts import bash, call, calls, says

pytestmark = pytest.mark.engine

Json = dict[str, Any]


def exchange(messages: list[Json]) -> list[Json]:
    """Calls, results and the assistant's words of a conversation, as the upstream got them."""
    found: list[Json] = []
    for message in messages:
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        for block in blocks:
            if block["type"] in ("tool_use", "tool_result") or message["role"] == "assistant":
                found.append({name: value for name, value in block.items() if name != "cache_control"})
    return found


def test_a_continued_conversation_brings_back_calls_and_results_as_they_were(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    file = project.write("notes.txt", "one\ntwo\n")
    upstream = script(
        {
            "conversations": [
                {
                    "name": "first",
                    "match": {"user": "remember this"},
                    "turns": [
                        calls(
                            {"thinking": "two at once"},
                            {"text": "I look."},
                            bash("echo kept > /tmp/kept; cd /tmp; cat notes.txt; exit 3"),
                            call("Read", file_path=str(file)),
                        ),
                        calls(bash("printf 'a\\tb é\\n'")),
                        says("Remembered."),
                    ],
                },
                {
                    "name": "second",
                    "match": {"user": "what was it"},
                    "turns": [
                        calls(bash("cat /tmp/kept"), expect={"body_excludes": ["display_only", "srvtoolu_"]}),
                        says("It was ${last_tool_result}."),
                    ],
                },
            ]
        }
    )
    assert claude.run("remember this").stdout == "Remembered.\n"
    assert claude.run("what was it", "--continue").stdout == "It was kept.\n"

    final_first = upstream.asked("first")[-1]["messages"]
    opening_second = upstream.asked("second")[0]["messages"]
    before = exchange(final_first)
    assert [block["type"] for block in before] == [
        "thinking", "text", "tool_use", "tool_use", "tool_result", "tool_result", "tool_use", "tool_result",
    ]  # fmt: skip
    assert exchange(opening_second)[: len(before)] == before
    assert exchange(opening_second)[len(before) :] == [{"type": "text", "text": "Remembered."}]
    assert len(gateway.containers(project.subject)) == 1


def test_an_altered_result_comes_back_as_a_quotation_and_not_as_a_fact(
    gateway: Gateway, project: Project, script: Script, claude: ClaudeCode
) -> None:
    upstream = script(
        {
            "conversations": [
                {"name": "first", "match": {"user": "look"}, "turns": [calls(bash("echo true-result")), says("Seen.")]},
                {"name": "second", "match": {"user": "again"}, "turns": [says("Hm.")]},
            ]
        }
    )
    assert claude.run("look").stdout == "Seen.\n"
    [transcript] = claude.transcripts()
    transcript.write_text(transcript.read_text().replace("true-result", "fake-result"))
    assert claude.run("again", "--continue").stdout == "Hm.\n"
    [asked] = upstream.asked("second")
    told = exchange(asked["messages"])
    assert [block["type"] for block in told] == ["text", "text"]
    assert "a tool call that this gateway did not issue" in told[0]["text"]
    assert "fake-result" in told[0]["text"]
