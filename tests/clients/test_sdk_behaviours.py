"""What the official SDKs for Python and TypeScript make of trouble, and of their newest requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types.beta import BetaToolParam

from tests.support import typescript_sdk
from tests.support.gateway import Gateway
from tests.support.project import Project, Script
from tests.support.scripts import bash, call, calls, says

pytestmark = pytest.mark.engine

Json = dict[str, Any]
TypeScript = Callable[..., list[Json]]

MODEL = "claude-scripted-1"
STRING: Json = {"type": "string"}
BASH: BetaToolParam = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": STRING}}}
WEATHER: Json = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": STRING}}}
BODY: Json = {"model": MODEL, "max_tokens": 999, "messages": [{"role": "user", "content": "go"}]}
WORDS = "These words come in several pieces."

CUTS = {
    "closed": {"cut": "close", "after_events": 4},
    "reset": {"cut": "reset", "after_events": 4},
    "ended early": {"cut": "clean", "after_events": 4},
    "error event": {"error_event": {}, "after_events": 4},
    "garbage": {"malformed": True, "after_events": 4},
}


@pytest.fixture
def python(gateway: Gateway, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[anthropic.Anthropic]:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with anthropic.Anthropic(base_url=gateway.url, api_key=project.key, max_retries=0) as client:
        yield client


@pytest.fixture
def typescript(gateway: Gateway, project: Project, tmp_path: Path) -> TypeScript:
    """Does jobs with the SDK; see its driver."""

    def run(*jobs: Json) -> list[Json]:
        return typescript_sdk.run(jobs, gateway.url, project.key, tmp_path / "typescript")

    return run


@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_that_breaks_off_is_an_error_in_both_sdks(
    cut: str, script: Script, python: anthropic.Anthropic, typescript: TypeScript
) -> None:
    script({"turns": [says(WORDS, fault=CUTS[cut])]})
    with pytest.raises(anthropic.APIError) as broken:
        with python.messages.stream(**BODY) as stream:
            stream.get_final_message()
    assert "several pieces." not in str(broken.value)
    [outcome] = typescript({"op": "stream", "body": BODY})
    assert not outcome["ok"]
    assert outcome["error"]["api"], outcome


def test_the_request_id_can_be_read_from_answers_and_errors(
    script: Script, python: anthropic.Anthropic, typescript: TypeScript
) -> None:
    fault = {"status": 400, "message": "max_tokens: too large"}
    wrong_turns = {"name": "wrong", "match": {"user": "wrong"}, "turns": [says("no", fault=fault)]}
    script({"conversations": [wrong_turns], "turns": [says("hello")]})
    wrong_body = {**BODY, "messages": [{"role": "user", "content": "wrong"}]}
    answer = python.messages.create(**BODY)
    assert str(answer._request_id).startswith("req_")
    with pytest.raises(anthropic.BadRequestError) as refused:
        python.messages.create(**wrong_body)
    assert str(refused.value.request_id).startswith("req_")

    created, streamed, wrong = typescript(
        {"op": "create", "body": BODY},
        {"op": "stream", "body": BODY},
        {"op": "create", "body": wrong_body},
    )
    ids = [created["request_id"], streamed["request_id"], wrong["error"]["request_id"]]
    assert [identity[:4] for identity in ids] == ["req_"] * 3
    assert len({*ids, answer._request_id, refused.value.request_id}) == 5
    assert created["headers"]["request-id"] == created["request_id"]
    assert wrong["error"]["class"] == "BadRequestError"


def test_no_sdk_repeats_a_request_that_the_upstream_says_not_to_repeat(
    script: Script, python: anthropic.Anthropic, typescript: TypeScript
) -> None:
    fault = {"status": 500, "headers": {"x-should-retry": "false"}}
    upstream = script({"turns": [says("no", fault=fault)]})
    with pytest.raises(anthropic.InternalServerError) as refused:
        python.with_options(max_retries=2).messages.create(**BODY)
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.lines("request")) == 1
    [outcome] = typescript({"op": "create", "body": BODY, "client": {"maxRetries": 2}})
    assert outcome["error"]["status"] == 500
    assert len(upstream.lines("request")) == 2


def test_a_limit_with_its_wait_is_typed_in_typescript(script: Script, typescript: TypeScript) -> None:
    script({"turns": [says("no", fault={"status": 429, "headers": {"retry-after": "61"}})]})
    [outcome] = typescript({"op": "create", "body": BODY})
    assert (outcome["error"]["class"], outcome["error"]["retry_after"]) == ("RateLimitError", "61")


def test_a_short_overload_is_got_over_without_the_application_knowing(
    script: Script, python: anthropic.Anthropic, typescript: TypeScript
) -> None:
    script({"turns": [says("hello", fault={"status": 529, "attempts": 2})]})
    patient = python.with_options(max_retries=2)
    assert patient.messages.create(**BODY).content[0].to_dict() == {"type": "text", "text": "hello"}
    other = {**BODY, "messages": [{"role": "user", "content": "go on"}]}
    [outcome] = typescript({"op": "create", "body": other, "client": {"maxRetries": 2}})
    assert outcome["message"]["content"] == [{"type": "text", "text": "hello"}]


WORK: Json = {
    "turns": [
        calls(bash("echo ran"), call("get_weather", city="Oslo")),
        says("${nth_tool_result:1} and ${nth_tool_result:2}"),
    ]
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK's types know no server tool called Bash
def test_the_python_tool_runner_gives_up_threads_and_finishes_its_work(
    gateway: Gateway, project: Project, script: Script, python: anthropic.Anthropic
) -> None:
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: where
        """
        asked.append(city)
        return "rain"

    upstream = script(WORK)
    runner = python.beta.messages.tool_runner(
        model=MODEL, max_tokens=999, tools=[get_weather, BASH], messages=[{"role": "user", "content": "go"}]
    )
    final = runner.until_done()
    assert [block.text for block in final.content if block.type == "text"] == ["ran and rain"]
    assert asked == ["Oslo"]
    assert len(gateway.events("tool.intent", project.subject)) == 1
    assert not any("thread" in body for body in upstream.asked())


def test_the_typescript_tool_runner_gives_up_threads_and_finishes_its_work(
    gateway: Gateway, project: Project, script: Script, typescript: TypeScript
) -> None:
    upstream = script(WORK)
    [outcome] = typescript({"op": "tool_runner", "body": {**BODY, "tools": [WEATHER, BASH]}})
    assert outcome["ok"], outcome
    texts = [block["text"] for block in outcome["message"]["content"] if block["type"] == "text"]
    assert texts == ["ran and the tool of the application"]
    assert outcome["ran"] == [{"name": "get_weather", "input": {"city": "Oslo"}}]
    assert len(gateway.events("tool.intent", project.subject)) == 1
    assert not any("thread" in body for body in upstream.asked())


def test_a_request_with_a_thread_is_refused_in_the_words_that_the_sdks_know(
    script: Script, python: anthropic.Anthropic
) -> None:
    upstream = script({"turns": [says("hello")]})
    with pytest.raises(anthropic.BadRequestError) as refused:
        python.messages.create(**BODY, extra_body={"thread": {"type": "create"}})
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["details"]["error_code"] == "thread_unsupported_request"
    assert upstream.asked() == []


def test_typescript_counts_tokens_and_reads_every_page_of_models(script: Script, typescript: TypeScript) -> None:
    script({"count_tokens": 1234})
    counted, listed = typescript(
        {"op": "count", "body": {"model": MODEL, "messages": BODY["messages"]}}, {"op": "models"}
    )
    assert counted["count"] == {"input_tokens": 1234}
    assert listed["ids"] == ["claude-scripted-1", "claude-scripted-2"]
