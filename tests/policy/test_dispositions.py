"""Who runs a declared tool: the table, and what holds for names that are not in it."""

from __future__ import annotations

import pytest

from gateway.agent.offer import Offer
from gateway.policy import Disposition, disposition_of, sanitised_schema
from gateway.tools.catalogue import CATALOGUE

MCP = ("mcp__*",)


def who(name: str, *, claude_code: bool = True, client_tools: tuple[str, ...] = MCP) -> Disposition:
    return disposition_of(name, claude_code=claude_code, client_tools=client_tools)


@pytest.mark.parametrize("name", ["Bash", "Read", "Write", "Edit", "NotebookEdit", "Glob", "Grep"])
def test_side_effects_run_in_the_sandbox(name: str) -> None:
    assert who(name) is Disposition.GATEWAY
    assert who(name, claude_code=False) is Disposition.GATEWAY
    assert name in CATALOGUE


@pytest.mark.parametrize(
    "name", ["PowerShell", "REPL", "Workflow", "Monitor", "EnterWorktree", "ExitWorktree", "WebFetch", "WebSearch"]
)
def test_local_effects_without_a_sandboxed_form_are_refused(name: str) -> None:
    assert who(name) is Disposition.REFUSED


@pytest.mark.parametrize("name", ["AskUserQuestion", "TaskCreate", "Agent", "Skill", "ExitPlanMode", "ToolSearch"])
def test_harmless_tools_stay_with_the_client(name: str) -> None:
    assert who(name) is Disposition.CLIENT


def test_a_built_in_that_nobody_knows_yet_is_refused_for_claude_code() -> None:
    assert who("BrandNewTool") is Disposition.REFUSED


def test_an_applications_own_tools_go_back_to_it() -> None:
    assert who("get_weather", claude_code=False) is Disposition.CLIENT


def test_mcp_tools_of_the_user_follow_the_operators_patterns() -> None:
    assert who("mcp__jira__search") is Disposition.CLIENT
    assert who("mcp__jira__search", client_tools=()) is Disposition.REFUSED
    assert who("mcp__jira__search", client_tools=("mcp__git__*",)) is Disposition.REFUSED


def test_a_pattern_cannot_send_a_sandboxed_tool_to_the_client() -> None:
    assert who("Bash", client_tools=("*",)) is Disposition.GATEWAY


def test_the_agents_isolation_in_a_local_worktree_is_not_offered() -> None:
    schema = {"type": "object", "properties": {"prompt": {}, "isolation": {}}, "required": ["prompt"]}
    assert list(sanitised_schema("Agent", schema)["properties"]) == ["prompt"]
    assert sanitised_schema("Skill", schema) is schema


def test_every_gateway_tool_has_an_implementation() -> None:
    for name in CATALOGUE:
        assert who(name) in (Disposition.GATEWAY, Disposition.SHARED)


def test_a_shared_tools_call_goes_to_whoever_started_what_it_names() -> None:
    declared = Offer([], {"TaskStop": Disposition.SHARED, "Agent": Disposition.CLIENT}, False)
    assert declared.settled("TaskStop", started_here=True) is Disposition.GATEWAY
    assert declared.settled("TaskStop", started_here=False) is Disposition.CLIENT
    assert declared.settled("Agent", started_here=False) is Disposition.CLIENT


def test_a_job_of_the_gateway_can_be_stopped_before_the_client_offers_the_tool() -> None:
    undeclared = Offer([], {}, False)
    assert undeclared.settled("TaskStop", started_here=True) is Disposition.GATEWAY
    assert undeclared.settled("TaskStop", started_here=False) is Disposition.REFUSED
    assert undeclared.settled("Bash", started_here=False) is Disposition.REFUSED
