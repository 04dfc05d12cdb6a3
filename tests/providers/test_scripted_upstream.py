"""The scripted upstream behaves like the API it stands in for, and says when a gateway did not."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from upstream_process import Scripted, ScriptedProcess

from gateway.providers.scripted.scenario import ScenarioError, parse

SCENARIOS = Path(__file__).parent.parent / "scenarios"
HEADERS = {"x-api-key": "upstream-secret", "anthropic-version": "2023-06-01"}
TOOL = {"name": "Bash", "input_schema": {"type": "object"}}
LOOP = {
    "turns": [
        {
            "blocks": [
                {"thinking": "let me see"},
                {"text": "I look — é."},
                {"tool_use": {"name": "Bash", "input": {"command": "ls ${workdir} ${HOME}", "n": [1, "${user}"]}}},
                {"tool_use": {"name": "Bash", "input": {"command": "pwd"}}},
            ]
        },
        {
            "expect": {"last_tool_result": {"contains": "/sec.nd/"}, "tools_include": ["Bash"]},
            "text": "first ${nth_tool_result:1}, last ${last_tool_result}, none ${nth_tool_result:9}",
        },
    ]
}


async def post(url: str, headers: dict[str, str] = HEADERS, **fields: Any) -> httpx.Response:
    whole = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go"}], **fields}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{url}/v1/messages", json=whole, headers=headers)


def answered(messages: list[dict[str, Any]], message: dict[str, Any], *texts: str) -> list[dict[str, Any]]:
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": text}
        for call, text in zip(calls, texts, strict=True)
    ]
    return [*messages, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": results}]


async def test_a_loop_walks_through_its_turns_by_history_alone(scripted: Scripted) -> None:
    upstream = await scripted(LOOP)
    go = [{"role": "user", "content": "go"}]
    system = "Working directory: /home/me"
    first = (await post(upstream.url, tools=[TOOL], system=system)).json()
    assert first["stop_reason"] == "tool_use"
    assert first["content"][2]["input"] == {"command": "ls /home/me ${HOME}", "n": [1, "go"]}
    ids = [block["id"] for block in first["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == 2
    assert (await post(upstream.url, tools=[TOOL], system=system)).json() == first

    then = answered(go, first, "the first", "the second")
    final = (await post(upstream.url, tools=[TOOL], messages=then)).json()
    assert final["content"][0]["text"] == "first the first, last the second, none "
    assert final["stop_reason"] == "end_turn"

    past = [*then, {"role": "assistant", "content": "x"}, {"role": "user", "content": "more"}]
    assert (await post(upstream.url, messages=past)).json()["content"] == [{"type": "text", "text": "ok"}]
    assert await upstream.stop() == 0


async def test_a_broken_expectation_answers_400_and_fails_the_process(scripted_process: ScriptedProcess) -> None:
    upstream = await scripted_process(LOOP)
    first = (await post(upstream.url, tools=[TOOL])).json()
    wrong = answered([{"role": "user", "content": "go"}], first, "the first", "other")
    refused = await post(upstream.url, tools=[TOOL], messages=wrong)
    assert refused.status_code == 400
    assert "last tool result should contain '/sec.nd/', is 'other'" in refused.json()["error"]["message"]
    assert "turn 1" in (await upstream.log())["violations"][0]["complaint"]
    assert await upstream.stop() == 3
    assert "should contain" in upstream.stderr


EXPECTED: list[tuple[dict[str, Any], str | None]] = [
    ({"tools_include": ["Bash"], "tools_exclude": ["Read"], "messages": 1, "user": "/^go$/", "model": "m"}, None),
    ({"header": {"anthropic-version": "2023-06-01", "x-secret": None}, "fields": {"max_tokens": 9}}, None),
    ({"system": "Be ", "body_includes": ['"max_tokens"'], "body_excludes": ["secret"]}, None),
    ({"tool_result_count": 0}, None),
    ({"tools_include": ["Read"]}, "tool 'Read' should be offered"),
    ({"tools_exclude": ["Bash"]}, "tool 'Bash' should not be offered"),
    ({"messages": 2}, "expected 2 messages, got 1"),
    ({"user": "stop"}, "user should match 'stop'"),
    ({"system": "/^x$/"}, "system should match"),
    ({"model": "other"}, "model should match"),
    ({"header": {"anthropic-version": None}}, "header anthropic-version should be None"),
    ({"body_includes": ["nope"]}, "body should contain 'nope'"),
    ({"body_excludes": ["max_tokens"]}, "body should not contain"),
    ({"fields": {"stream": True}}, "field stream should be True, is None"),
    ({"last_tool_result": {}}, "expected a tool result, got none"),
    ({"tool_results": {1: {"equals": "x"}}}, "expected a tool result 1"),
    ({"tool_result_count": 1}, "expected 1 tool results, got 0"),
]


@pytest.mark.parametrize(("expect", "complaint"), EXPECTED, ids=[str(expect) for expect, _ in EXPECTED])
async def test_every_expectation_can_hold_and_can_fail(
    scripted: Scripted, expect: dict[str, Any], complaint: str | None
) -> None:
    upstream = await scripted({"turns": [{"text": "yes", "expect": expect}]})
    answer = await post(upstream.url, tools=[TOOL], system="Be good")
    if complaint is None:
        assert answer.json()["content"][0]["text"] == "yes"
    else:
        assert complaint in answer.json()["error"]["message"]
    assert await upstream.stop() == (0 if complaint is None else 3)


async def test_conversations_are_chosen_by_what_the_request_is_like(scripted: Scripted) -> None:
    def conversation(name: str, **match: Any) -> dict[str, Any]:
        return {"name": name, "match": match, "turns": [{"text": name}, {"text": f"{name} again"}]}

    upstream = await scripted(
        {
            "conversations": [
                conversation("title", tools=False, system="title"),
                conversation("agent", subagent=True),
                conversation("headed", header={"X-Case": "7"}),
                conversation("model", model="/haiku/"),
                conversation("searching", tool="web_search", no_tool=["Bash"]),
                conversation("fix", user="/fix (it|that)/"),
                conversation("push", user="push"),
            ],
            "turns": [{"text": "default"}],
        }
    )

    async def says(*texts: str, headers: dict[str, str] | None = None, **fields: Any) -> str:
        roles = ("user", "assistant")
        messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
        answer = await post(upstream.url, {**HEADERS, **(headers or {})}, messages=messages, **fields)
        return str(answer.json()["content"][0]["text"])

    search = {"type": "web_search_20250305", "name": "web_search"}
    assert await says("x") == "default"
    assert await says("x", system="make a title") == "title"
    assert await says("x", system="make a title", tools=[TOOL]) == "default"
    assert await says("x", headers={"x-claude-code-agent-id": "1"}) == "agent"
    assert await says("x", system="cc_is_subagent=true;") == "agent"
    assert await says("x", headers={"x-case": "7"}) == "headed"
    assert await says("x", model="claude-haiku") == "model"
    assert await says("x", tools=[search]) == "searching"
    assert await says("x", tools=[search, TOOL]) == "default"
    assert await says("please fix it") == "fix"
    assert await says("please fix it", "fix", "thanks") == "fix again"
    assert await says("please fix it", "fix", "now push") == "push"
    assert await says("please fix it", "fix", "now push", "push", "and fix that") == "fix"
    reminder = {"type": "text", "text": "<system-reminder>fix it</system-reminder>"}
    reminded = [{"role": "user", "content": [reminder, {"type": "text", "text": "x"}]}]
    assert (await post(upstream.url, messages=reminded)).json()["content"][0]["text"] == "default"


CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]}
ANSWERED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}
USER = {"role": "user", "content": "go"}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def assistant(**block: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", "content": [block]}, USER]}


STRICT: list[tuple[dict[str, Any], int, str]] = [
    ({"messages": []}, 400, "messages: at least one message is required"),
    ({"messages": [USER, CALLED, USER]}, 400, "messages.1: `tool_use` ids were found without `tool_result`"),
    ({"messages": [ANSWERED]}, 400, "messages.0.content.0: unexpected `tool_use_id`"),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "messages.0: all messages must have non-empty content"),
    ({"messages": [{"role": "user", "content": " \n"}]}, 400, "messages: text content blocks must contain non-white"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, 400, "must be non-empty"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages.0.content.0.text.text: Field"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, 400, "does not support assistant message prefill"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}, {"role": "system", "content": "x"}]}, 400, "prefill"),
    ({"messages": [{"role": "user", "content": [MARKED] * 5}]}, 400, "A maximum of 4 blocks with cache_control"),
    ({"messages": [USER, {"role": "system", "content": "s"}, USER]}, 400, "messages.1: a `system` message must"),
    (assistant(type="hologram"), 400, "messages.1.content.0: Input tag 'hologram'"),
    (assistant(type="thinking", thinking="x", signature="forged"), 400, "Invalid `signature` in `thinking` block"),
    (assistant(type="tool_use", id="bad id", name="B", input={}), 400, "tool_use.id: String should match"),
    (assistant(type="tool_use", id="t", name="B", input="{}"), 400, "tool_use.input: Input should be a valid dict"),
    (assistant(type="server_tool_use", id="t", name="web_search", input={}), 400, "server_tool_use.id: String should"),
    (assistant(type="server_tool_use", id="srvtoolu_1", name="Bash", input={}), 400, "server_tool_use.name"),
    ({"tools": [{"name": "a b", "input_schema": {}}]}, 400, "tools.0.custom.name: String should match"),
    ({"tools": [{"name": "a"}]}, 400, "tools.0.custom.input_schema: Field required"),
    ({"tool_choice": {"type": "tool", "name": "x"}}, 400, "tool_choice: Tool 'x' not found"),
    ({"tool_choice": {"type": "function"}}, 400, "tool_choice: Input tag"),
    ({"headers": {"anthropic-version": "2023-06-01"}}, 401, "x-api-key header is required"),
    ({"headers": {"x-api-key": "k"}}, 400, "anthropic-version: header is required"),
]


@pytest.mark.parametrize(("fields", "status", "message"), STRICT, ids=[message for _, _, message in STRICT])
async def test_what_the_real_api_refuses_is_refused(
    scripted: Scripted, fields: dict[str, Any], status: int, message: str
) -> None:
    upstream = await scripted({})
    answer = await post(upstream.url, **fields)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert (await upstream.log())["violations"] == []


LEAKING = {"type": "text", "text": "x", "display_only": True}
LEAKING_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [LEAKING]}
LEAKS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "gateway": {"display_only": True}}]}]},
    {"messages": [USER, CALLED, {"role": "user", "content": [LEAKING_RESULT]}]},
    {"tools": [{**TOOL, "gateway": {}}]},
]


@pytest.mark.parametrize("fields", LEAKS)
async def test_the_gateways_own_marks_may_not_reach_the_model(scripted: Scripted, fields: dict[str, Any]) -> None:
    upstream = await scripted({})
    answer = await post(upstream.url, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith("Extra inputs are not permitted")
    assert await upstream.stop() == 3


async def test_a_tool_input_may_well_name_a_gateway(scripted: Scripted) -> None:
    upstream = await scripted({})
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"gateway": "10.0.0.1", "display_only": True}}
    called = {"role": "assistant", "content": [call]}
    assert (await post(upstream.url, messages=[USER, called, ANSWERED])).status_code == 200


async def test_unknown_top_level_fields_and_betas_are_taken(scripted: Scripted) -> None:
    upstream = await scripted({})
    headers = {**HEADERS, "anthropic-beta": "never-heard-of-2030-01-01"}
    assert (await post(upstream.url, headers, safeguards=[], thread={"type": "create"})).status_code == 200


async def test_signatures_of_the_script_and_of_the_server_come_back_valid(scripted: Scripted) -> None:
    upstream = await scripted({"turns": [{"blocks": [{"thinking": "a"}, {"thinking": "b", "signature": "given"}]}]})
    message = (await post(upstream.url)).json()
    history = [USER, {"role": "assistant", "content": message["content"]}, USER]
    assert (await post(upstream.url, messages=history)).status_code == 200
    message["content"][0]["thinking"] = "changed"
    assert (await post(upstream.url, messages=history)).status_code == 400


async def test_the_record_holds_bodies_but_no_secrets(scripted: Scripted) -> None:
    upstream = await scripted({})
    await post(upstream.url, {**HEADERS, "Authorization": "Bearer top-secret"}, safeguards=["é"])
    assert await upstream.stop() == 0
    (recorded,) = upstream.recorded()
    assert recorded["body"]["safeguards"] == ["é"]
    assert recorded["headers"]["anthropic-version"] == "2023-06-01"
    assert "secret" not in upstream.record.read_text(encoding="utf-8")


async def test_a_fault_of_the_first_attempts_ends_for_the_same_request(scripted: Scripted) -> None:
    upstream = await scripted({"turns": [{"text": "at last", "fault": {"status": 529, "attempts": 2}}]})
    assert [(await post(upstream.url)).status_code for _ in range(3)] == [529, 529, 200]


async def test_models_counts_and_unknown_paths(scripted: Scripted) -> None:
    upstream = await scripted({"models": ["claude-a", "claude-b"], "count_tokens": 42})
    async with httpx.AsyncClient(trust_env=False, base_url=upstream.url, headers=HEADERS) as client:
        models = (await client.get("/v1/models")).json()
        assert [model["id"] for model in models["data"]] == ["claude-a", "claude-b"]
        counted = await client.post("/v1/messages/count_tokens", json={"model": "m", "messages": [USER]})
        assert counted.json() == {"input_tokens": 42}
        assert (await client.post("/v1/complete", json={})).json()["error"]["type"] == "not_found_error"


WRONG_FILES = [
    ({"turn": []}, "turn"),
    ({"turns": [{"text": "a", "blocks": [{"text": "b"}]}]}, "either text or blocks"),
    ({"turns": [{"blocks": [{"text": "a", "thinking": "b"}]}]}, "exactly one of"),
    ({"turns": [{"blocks": [{}]}]}, "exactly one of"),
    ({"turns": [{"blocks": [{"raw": {}}]}]}, "needs a type"),
    ({"turns": [{"blocks": [{"text": "a", "signature": "s"}]}]}, "only a thinking block"),
    ({"turns": [{"fault": {"cut": "softly"}}]}, "cut"),
    ({"conversations": [{"turns": []}, {"turns": []}]}, "different names"),
]


@pytest.mark.parametrize(("scenario", "complaint"), WRONG_FILES, ids=[complaint for _, complaint in WRONG_FILES])
def test_a_mistyped_scenario_is_refused(scenario: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        parse(scenario)


async def test_a_mistyped_scenario_does_not_start(scripted_process: ScriptedProcess) -> None:
    with pytest.raises(AssertionError, match="unknown field `turn`"):
        await scripted_process({"turn": []})


async def test_a_scenario_file_of_the_documentation_runs_as_a_process(scripted_process: ScriptedProcess) -> None:
    upstream = await scripted_process(SCENARIOS / "tool-loop.yaml")
    first = (await post(upstream.url, tools=[TOOL], system="Working directory: /w")).json()
    assert first["content"][2]["input"] == {"command": "ls /w"}
    then = answered([{"role": "user", "content": "go"}], first, "a.txt")
    assert (await post(upstream.url, tools=[TOOL], messages=then)).json()["content"][0]["text"] == "I see: a.txt"
    assert await upstream.stop() == 0


async def test_ids_are_the_same_for_the_same_request_in_another_process(
    scripted_process: ScriptedProcess, scripted: Scripted
) -> None:
    there = (await post((await scripted_process(LOOP)).url)).json()
    assert there == (await post((await scripted(LOOP)).url)).json()
    assert there != (await post((await scripted(LOOP)).url, messages=[{"role": "user", "content": "other"}])).json()
