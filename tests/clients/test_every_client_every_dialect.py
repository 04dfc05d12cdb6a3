"""Every client holds the same conversation through every kind of upstream, and cannot tell which one it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anthropic
import pytest
from anthropic.types import ToolParam

from tests.support import agent_sdk, typescript_sdk
from tests.support.claude_code import LOOPBACK_ONLY, NEWER, STREAM_JSON, VERSION, ClaudeCode
from tests.support.matrix import DIALECT_NAMES, PROMPT, THOUGHT, Matrix, answer_on, model_on
from tests.support.project import Project
from tests.upstreams.dialects import DIALECTS

pytestmark = pytest.mark.engine

Json = dict[str, Any]

CLI_RUNS = [(version, dialect) for version in (VERSION, NEWER) for dialect in DIALECT_NAMES]
AGENT_RUNS = DIALECT_NAMES
BASH: ToolParam = {
    "name": "Bash",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
AT_ONCE = 2
"""Command-line runs at the same time."""


def prompt(who: str) -> str:
    return f"{PROMPT}, says {who}"


def asking(dialect: str, who: str) -> Json:
    """The body that an application sends."""
    messages = [{"role": "user", "content": prompt(who)}]
    return {
        "model": model_on(dialect),
        "max_tokens": 4000,
        "thinking": {"type": "adaptive"},
        "tools": [BASH],
        "messages": messages,
    }


@pytest.fixture(scope="module")
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield pool


@pytest.fixture(scope="module")
def python_project(matrix: Matrix) -> Project:
    return Project.make(matrix.gateway)


@pytest.fixture(scope="module")
def typescript_outcomes(matrix: Matrix, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """One process does every dialect."""
    key = Project.make(matrix.gateway).key
    jobs = [{"op": "stream", "body": asking(dialect, f"typescript on {dialect}")} for dialect in DIALECT_NAMES]
    done = typescript_sdk.run(jobs, matrix.gateway.url, key, tmp_path_factory.mktemp("typescript"))
    return dict(zip(DIALECT_NAMES, done, strict=True))


Runs = dict[tuple[str, str], Future[tuple[Project, list[Json]]]]


@pytest.fixture(scope="module")
def runs(matrix: Matrix, workers: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All command-line runs, a few at a time: the project and the lines of each."""

    def cli(version: str, dialect: str) -> tuple[Project, list[Json]]:
        project = Project.make(matrix.gateway)
        home = tmp_path_factory.mktemp("home")
        claude = ClaudeCode(home, project.path, matrix.gateway.url, project.key, version)
        run = claude.run(prompt(f"{version} on {dialect}"), "--model", model_on(dialect), *STREAM_JSON)
        assert run.status == 0, run.stdout + run.stderr
        return project, run.messages

    def agent(dialect: str) -> tuple[Project, list[Json]]:
        project = Project.make(matrix.gateway)
        environment = {
            "ANTHROPIC_BASE_URL": matrix.gateway.url,
            "ANTHROPIC_AUTH_TOKEN": project.key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **LOOPBACK_ONLY,
        }
        home = tmp_path_factory.mktemp("home")
        process = agent_sdk.start(
            prompt(f"agent on {dialect}"), model_on(dialect), home=home, project=project.path, environment=environment
        )
        return project, agent_sdk.messages(process)

    begun: Runs = {(version, dialect): workers.submit(cli, version, dialect) for version, dialect in CLI_RUNS}
    return begun | {("agent", dialect): workers.submit(agent, dialect) for dialect in AGENT_RUNS}


def check_upstream(matrix: Matrix, dialect: str, who: str) -> None:
    """The upstream was asked twice, the second time with the call and what it printed."""
    assert [text for text in matrix.upstreams[dialect].refused() if who in text or "scenario" in text] == []
    first, second = (json.dumps(body) for body in matrix.asked(dialect, who))
    assert "echo inside=" not in first
    assert "echo inside=" in second
    assert f"inside=sandbox uid=10001 on={dialect}" in second


def check_content(content: list[Json], dialect: str) -> None:
    """The client saw thinking where there is any, the words, the call with its result, and the answer."""
    thoughts = "".join(block["thinking"] for block in content if block["type"] == "thinking")
    assert thoughts == (THOUGHT if DIALECTS[dialect].thinking != "none" else "")
    texts = [block["text"] for block in content if block["type"] == "text" and "gateway" not in block]
    assert [text.strip() for text in texts] == ["I look around.", answer_on(dialect)]
    assert [block["name"] for block in content if block["type"] == "server_tool_use"] == ["Bash"]
    assert "tool_use" not in {block["type"] for block in content}


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_python_sdk_holds_the_conversation(dialect: str, matrix: Matrix, python_project: Project) -> None:
    with anthropic.Anthropic(base_url=matrix.gateway.url, api_key=python_project.key, max_retries=0) as client:
        with client.messages.stream(**asking(dialect, f"python on {dialect}")) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert (final.model, final.stop_reason) == (model_on(dialect), "end_turn")
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 0
    check_content(final.model_dump(mode="json", warnings=False)["content"], dialect)
    check_upstream(matrix, dialect, f"python on {dialect}")


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_the_typescript_sdk_holds_the_conversation(
    dialect: str, matrix: Matrix, typescript_outcomes: dict[str, Json]
) -> None:
    outcome = typescript_outcomes[dialect]
    assert outcome["ok"], outcome
    assert (outcome["events"][0], outcome["events"][-1]) == ("message_start", "message_stop")
    assert outcome["request_id"].startswith("req_")
    assert outcome["message"]["model"] == model_on(dialect)
    check_content(outcome["message"]["content"], dialect)
    check_upstream(matrix, dialect, f"typescript on {dialect}")


@pytest.mark.parametrize(("version", "dialect"), CLI_RUNS)
def test_claude_code_holds_the_conversation(version: str, dialect: str, matrix: Matrix, runs: Runs) -> None:
    project, lines = runs[version, dialect].result()
    [result] = [line for line in lines if line["type"] == "result"]
    assert (result["subtype"], result["num_turns"]) == ("success", 1)
    assert result["result"].strip() == answer_on(dialect)
    check_content(
        [block for line in lines if line["type"] == "assistant" for block in line["message"]["content"]], dialect
    )
    [ran] = matrix.gateway.events("tool.result", project.subject)
    assert (ran["tool"], ran["outcome"]) == ("Bash", "ok")
    check_upstream(matrix, dialect, f"{version} on {dialect}")


@pytest.mark.parametrize("dialect", AGENT_RUNS)
def test_the_agent_sdk_holds_the_conversation(dialect: str, matrix: Matrix, runs: Runs) -> None:
    project, messages = runs["agent", dialect].result()
    [result] = [message for message in messages if message["kind"] == "ResultMessage"]
    assert (result["is_error"], result["result"].strip()) == (False, answer_on(dialect))
    [ran] = matrix.gateway.events("tool.result", project.subject)
    assert (ran["tool"], ran["outcome"]) == ("Bash", "ok")
    check_upstream(matrix, dialect, f"agent on {dialect}")
