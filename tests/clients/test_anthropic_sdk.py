"""The official Python SDK, with tools of Claude Code's names declared by the application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam, ServerToolUseBlock, TextBlock, ThinkingBlock, ToolParam, ToolUseBlock

from tests.support.gateway import Gateway
from tests.support.project import Project, Script
from tests.support.scripts import bash, call, calls, says

pytestmark = pytest.mark.engine

Json = dict[str, Any]
Client = Callable[..., anthropic.Anthropic]

MODEL = "claude-scripted-1"
STRING: Json = {"type": "string"}
TOOLS: list[ToolParam] = [
    {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": STRING}, "required": ["command"]}},
    {"name": "Read", "input_schema": {"type": "object", "properties": {"file_path": STRING}}},
    {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": STRING}}},
]
GO: list[MessageParam] = [{"role": "user", "content": "go"}]
WORK: Json = {
    "turns": [
        calls({"thinking": "I need the shell."}, {"text": "I look."}, bash("echo héllo; exit 4")),
        says("It said: ${last_tool_result}"),
    ]
}


@pytest.fixture
def client(gateway: Gateway, project: Project) -> Iterator[Client]:
    """Makes SDK clients of this project; `auth_token` in place of `api_key` where wanted."""
    made: list[anthropic.Anthropic] = []

    def make(**options: Any) -> anthropic.Anthropic:
        if "auth_token" not in options:
            options.setdefault("api_key", project.key)
        made.append(anthropic.Anthropic(base_url=gateway.url, max_retries=0, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def no_credentials_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def comparable(message: anthropic.types.Message) -> Json:
    """A message without what differs between two runs of the same turn (ids, seals), and without the counts of
    each model call, which the SDK's streams do not gather."""
    found = message.model_dump(mode="json", exclude={"id"}, warnings=False)
    found["usage"].pop("iterations", None)
    for block in found["content"]:
        block.pop("id", None)
        block.pop("tool_use_id", None)
        block.get("gateway", {}).pop("seal", None)
    return found


def test_a_stream_with_a_sandboxed_call_is_well_formed_and_typed(
    gateway: Gateway, project: Project, script: Script, client: Client
) -> None:
    script(WORK)
    with client().messages.stream(model=MODEL, max_tokens=999, tools=TOOLS, messages=GO) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 5

    thinking, words, use, result, answer = final.content
    assert isinstance(thinking, ThinkingBlock)
    assert isinstance(words, TextBlock)
    assert isinstance(use, ServerToolUseBlock)
    assert (use.name, use.input) == ("Bash", {"command": "echo héllo; exit 4"})
    assert result.type == "code_execution_tool_result"
    assert result.tool_use_id == use.id
    assert result.content.type == "code_execution_result"
    assert (result.content.stdout, result.content.return_code) == ("Exit code 4\nhéllo", 4)
    assert isinstance(answer, TextBlock)
    assert answer.text == "It said: Exit code 4\nhéllo"
    assert (final.stop_reason, final.model) == ("end_turn", MODEL)
    [outcome] = gateway.events("tool.result", project.subject)
    assert (outcome["tool"], outcome["exit"], outcome["outcome"]) == ("Bash", 4, "error")


def test_the_answer_in_one_piece_is_the_streamed_one(script: Script, client: Client) -> None:
    script(WORK)
    whole = client().messages.create(model=MODEL, max_tokens=999, tools=TOOLS, messages=GO)
    with client().messages.stream(model=MODEL, max_tokens=999, tools=TOOLS, messages=GO) as stream:
        streamed = stream.get_final_message()
    assert comparable(whole) == comparable(streamed)


def test_returned_content_echoed_in_the_next_turn_reaches_the_model_as_plain_calls(
    script: Script, client: Client
) -> None:
    upstream = script(
        {
            "conversations": [
                {"name": "second", "match": {"user": "more"}, "turns": [says("Fine.")]},
                {"name": "first", "turns": WORK["turns"]},
            ]
        }
    )
    first = client().messages.create(model=MODEL, max_tokens=999, tools=TOOLS, messages=GO)
    history: list[MessageParam] = [*GO, {"role": "assistant", "content": first.content}]
    second = client().messages.create(
        model=MODEL, max_tokens=999, tools=TOOLS, messages=[*history, {"role": "user", "content": "more"}]
    )
    assert isinstance(second.content[0], TextBlock)
    assert second.content[0].text == "Fine."
    before = upstream.asked("first")[-1]["messages"]
    [asked] = upstream.asked("second")
    assert asked["messages"][: len(before)] == before
    assert [block["type"] for block in before[1]["content"]] == ["thinking", "text", "tool_use"]


def test_a_tool_of_the_application_is_handed_to_it_after_the_sandboxed_ones(
    gateway: Gateway, project: Project, script: Script, client: Client
) -> None:
    script(
        {
            "turns": [
                calls(bash("echo ran"), call("get_weather", city="Oslo")),
                says("${nth_tool_result:1} and ${nth_tool_result:2}"),
            ]
        }
    )
    first = client().messages.create(model=MODEL, max_tokens=999, tools=TOOLS, messages=GO)
    assert first.stop_reason == "tool_use"
    use = first.content[-1]
    assert isinstance(use, ToolUseBlock)
    assert (use.name, use.input) == ("get_weather", {"city": "Oslo"})
    answer: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}],
    }
    second = client().messages.create(
        model=MODEL,
        max_tokens=999,
        tools=TOOLS,
        messages=[*GO, {"role": "assistant", "content": first.content}, answer],
    )
    assert isinstance(second.content[-1], TextBlock)
    assert second.content[-1].text == "ran and rain"
    assert len(gateway.events("tool.intent", project.subject)) == 1


def test_a_wrong_key_is_an_authentication_error_that_names_its_request(script: Script, client: Client) -> None:
    upstream = script({})
    for wrong in ({"api_key": "sk-wrong"}, {"auth_token": "wrong"}):
        with pytest.raises(anthropic.AuthenticationError) as refused:
            client(**wrong).messages.create(model=MODEL, max_tokens=9, messages=GO)
        assert str(refused.value.request_id).startswith("req_")
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["error"]["type"] == "authentication_error"
    assert upstream.asked() == []


def test_what_the_upstream_refuses_and_what_the_gateway_refuses_are_typed_alike(script: Script, client: Client) -> None:
    fault = {"status": 400, "type": "invalid_request_error", "message": "max_tokens: too large"}
    script({"turns": [says("no", fault=fault)]})
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: too large"):
        client().messages.create(model=MODEL, max_tokens=9, messages=GO)
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client().messages.create(model=MODEL, max_tokens=9, tools=TOOLS, messages=[])


def test_a_body_past_the_limit_is_request_too_large(script: Script, client: Client) -> None:
    script({})
    large: list[MessageParam] = [{"role": "user", "content": "x" * (33 * 1024 * 1024)}]
    with pytest.raises(anthropic.APIStatusError) as refused:
        client().messages.create(model=MODEL, max_tokens=9, messages=large)
    assert refused.value.status_code == 413
    assert isinstance(refused.value, anthropic.RequestTooLargeError)


def test_an_overloaded_upstream_is_told_with_its_wait(script: Script, client: Client) -> None:
    script({"turns": [says("no", fault={"status": 429, "type": "rate_limit_error", "headers": {"retry-after": "61"}})]})
    with pytest.raises(anthropic.RateLimitError) as refused:
        client().messages.create(model=MODEL, max_tokens=9, messages=GO)
    assert refused.value.response.headers["retry-after"] == "61"


def test_tokens_are_counted_and_models_listed_with_either_kind_of_credential(
    project: Project, script: Script, client: Client
) -> None:
    script({"count_tokens": 1234, "models": ["claude-one-1", "claude-two-2"]})
    for one in (client(), client(auth_token=project.key), client(default_headers={"x-api-key": project.key})):
        counted = one.messages.count_tokens(model=MODEL, tools=TOOLS, messages=GO)
        assert counted.input_tokens == 1234
        assert [model.id for model in one.models.list()] == ["claude-one-1", "claude-two-2"]
    assert client().models.retrieve("claude-two-2").id == "claude-two-2"


def test_x_api_key_is_as_good_as_bearer(gateway: Gateway, project: Project, script: Script) -> None:
    script({"turns": [says("hello")]})
    body = {"model": MODEL, "max_tokens": 9, "messages": GO}
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as plain:
        for headers in ({"x-api-key": project.key}, {"authorization": f"Bearer {project.key}"}):
            answer = plain.post("/v1/messages", json=body, headers=headers)
            assert answer.json()["content"] == [{"type": "text", "text": "hello"}]
