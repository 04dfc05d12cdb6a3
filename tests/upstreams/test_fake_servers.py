"""The fake servers: one scenario in every dialect, and every fault on the wire, read off real sockets."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import ScenarioError, parse
from tests.support.fake_upstream import ROOT, FakeUpstream
from tests.upstreams.dialect_server import DialectServer
from tests.upstreams.dialects import DIALECTS, Dialect
from tests.upstreams.issued_tokens import CLIENT_ID, CLIENT_SECRET, SCOPES, Credentials
from tests.upstreams.wire import take_wires

Json = dict[str, Any]

THOUGHT = "I need the shell."
COMMAND = {"command": "echo höi"}
SCOPED = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": "global"}}]
WORK: Json = {
    "blocks": [{"thinking": THOUGHT}, {"text": "I look."}, {"tool_use": {"name": "Bash", "input": COMMAND}}],
    "usage": {"input_tokens": 30, "cache_read_input_tokens": 12, "output_tokens": 7},
}
ANSWER: Json = {"text": "It said: ${last_tool_result}"}
CHAT = sorted(name for name, one in DIALECTS.items() if not one.messages_api)
MESSAGES = sorted(name for name, one in DIALECTS.items() if one.messages_api)


class Server:
    """One fake server on a socket of this process, and a client for it."""

    def __init__(self, dialect: Dialect, url: str, record: Record) -> None:
        self.dialect = dialect
        self.record = record
        self.path = dialect.path.replace("[^/]+", "endpoint-one")
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)

    async def post(self, body: Json, path: str = "", **headers: str) -> httpx.Response:
        given = {"authorization": "Bearer any", "anthropic-version": "2023-06-01", **headers}
        return await self._http.post(path or self.path, json=body, headers=given)

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path, headers={"authorization": "Bearer any"})

    async def form(self, path: str, fields: Json, **headers: str) -> httpx.Response:
        return await self._http.post(path, data=fields, headers=headers)

    def stream(self, body: Json) -> Any:
        headers = {"authorization": "Bearer any", "anthropic-version": "2023-06-01"}
        return self._http.stream("POST", self.path, json=body, headers=headers)

    async def aclose(self) -> None:
        await self._http.aclose()

    def asking(self, *more: Json, stream: bool = True) -> Json:
        """The first request of the conversation, or one that goes on."""
        messages: list[Json] = [{"role": "user", "content": "go"}, *more]
        body: Json = {"messages": messages, "stream": stream, "max_tokens": 99, "model": "claude-one"}
        if self.dialect.messages_api:
            return {**body, "tools": [{"name": "Bash", "input_schema": {"type": "object"}}]}
        body["tools"] = [{"type": "function", "function": {"name": "Bash", "parameters": {"type": "object"}}}]
        if self.dialect.name == "openai":
            body["max_completion_tokens"] = body.pop("max_tokens")
        if self.dialect.name == "databricks-invocations":
            del body["model"]
        if self.dialect.usage_asked and stream:
            body["stream_options"] = {"include_usage": True}
        return body


Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers that play turns."""
    running: list[tuple[DialectServer, Server]] = []

    async def begin(name: str, *turns: Json, secret: str = "", seconds: float = 60, rpm: int | None = None) -> Server:
        data, wires = take_wires({"conversations": [{"name": "work", "turns": [dict(turn) for turn in turns]}]})
        record = Record()
        credentials = Credentials(DIALECTS[name], secret, seconds)
        server = DialectServer(DIALECTS[name], parse(data), wires, record, credentials, rpm)
        face = Server(DIALECTS[name], f"http://127.0.0.1:{await server.start()}", record)
        running.append((server, face))
        return face

    yield begin
    for server, face in running:
        await face.aclose()
        await server.aclose()


def data_of(response: httpx.Response) -> list[Json]:
    """The JSON data of a chat stream, which ends with its mark."""
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def deltas_of(chunks: list[Json]) -> list[Json]:
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk.get("choices")]


def arguments_of(chunks: list[Json]) -> dict[int, str]:
    found: dict[int, str] = {}
    for call in (call for delta in deltas_of(chunks) for call in delta.get("tool_calls", [])):
        found[call["index"]] = found.get(call["index"], "") + call["function"].get("arguments", "")
    return found


@pytest.mark.parametrize("name", CHAT)
async def test_a_chat_dialect_plays_the_conversation_with_its_call(name: str, start: Start) -> None:
    server = await start(name, WORK, ANSWER)
    chunks = data_of(await server.post(server.asking()))
    [identity] = {call["id"] for delta in deltas_of(chunks) for call in delta.get("tool_calls", []) if "id" in call}
    assert json.loads(arguments_of(chunks)[0]) == COMMAND
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk.get("choices")} == {None, "tool_calls"}
    [usage] = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (42, 12)
    shown = json.dumps([delta for delta in deltas_of(chunks) if "tool_calls" not in delta])
    assert ("I n" in shown) == (server.dialect.thinking != "none")

    called = {"role": "assistant", "content": None, "tool_calls": [
        {"id": identity, "type": "function", "function": {"name": "Bash", "arguments": json.dumps(COMMAND)}}
    ]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": identity, "content": "höi"}
    whole = (await server.post(server.asking(called, result, stream=False))).json()
    assert whole["choices"][0]["message"]["content"] == "It said: höi"
    assert server.record.violations == []


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_messages_dialect_plays_the_conversation_with_its_call(name: str, start: Start) -> None:
    server = await start(name, WORK, ANSWER)
    streamed = await server.post(server.asking())
    assert ("amazon-bedrock-invocationMetrics" in streamed.text) == (name == "databricks-anthropic")
    whole = (await server.post(server.asking(stream=False))).json()
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": whole["content"][2]["id"], "content": "höi"}
    more = [{"role": "assistant", "content": whole["content"]}, {"role": "user", "content": [result]}]
    second = (await server.post(server.asking(*more, stream=False))).json()
    assert second["content"] == [{"type": "text", "text": "It said: höi"}]
    assert server.record.violations == []


async def test_a_forged_signature_of_a_reasoning_block_is_refused(start: Start) -> None:
    server = await start("databricks-chat", WORK, ANSWER)
    chunks = data_of(await server.post(server.asking()))
    parts = [part for delta in deltas_of(chunks) if isinstance(delta.get("content"), list) for part in delta["content"]]
    signature = parts[-1]["summary"][0]["signature"]
    for given, status in ((signature, 200), ("forged", 400)):
        summary = [{"type": "summary_text", "text": THOUGHT, "signature": given}]
        words = {
            "role": "assistant",
            "content": [{"type": "reasoning", "summary": summary}, {"type": "text", "text": "I look."}],
        }
        answered = await server.post(server.asking(words, {"role": "user", "content": "more"}))
        assert answered.status_code == status


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("databricks-anthropic", "container", "c"),
        ("databricks-anthropic", "safeguards", []),
        ("databricks-anthropic", "tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("databricks-anthropic", "system", SCOPED),
        ("databricks-anthropic", "messages", [{"role": "user", "content": "go"}, {"role": "system", "content": "x"}]),
        ("azure", "system", SCOPED),
        ("azure-hosted", "output_config", {"format": {"type": "json_schema", "schema": {}}}),
        ("azure-hosted", "mcp_servers", []),
    ],
)  # fmt: skip
async def test_what_a_server_of_the_messages_api_refuses_is_a_violation(
    name: str, field: str, value: object, start: Start
) -> None:
    server = await start(name, WORK)
    answered = await server.post({**server.asking(), field: value})
    assert answered.status_code == 400
    assert len(server.record.violations) == 1


async def test_the_new_version_refuses_sampling_and_an_unknown_one_is_refused(start: Start) -> None:
    server = await start("anthropic", WORK)
    body = {**server.asking(), "temperature": 1}
    assert (await server.post(body)).status_code == 200
    assert (await server.post(body, **{"anthropic-version": "2026-10-21"})).status_code == 400
    assert (await server.post(server.asking(), **{"anthropic-version": "2024-01-01"})).status_code == 400


async def test_each_server_reads_its_own_credentials_only(start: Start) -> None:
    taken = {}
    for name in ("azure", "databricks-anthropic", "databricks-chat", "openai", "vllm"):
        server = await start(name, WORK, secret="" if name == "vllm" else "right")
        basic = "Basic " + base64.b64encode(b"token:right").decode()
        headers: list[dict[str, str]] = [
            {"x-api-key": "right"},
            {"api-key": "right"},
            {"authorization": "Bearer right"},
        ]
        headers += [{"authorization": basic}, {"authorization": "Bearer wrong"}]
        replies = [await server.post(server.asking(), **{"authorization": "", **one}) for one in headers]
        taken[name] = [reply.status_code == 200 for reply in replies]
    assert taken == {
        "azure": [True, True, True, False, False],
        "databricks-anthropic": [False, False, True, True, False],
        "databricks-chat": [False, False, True, True, False],
        "openai": [False, False, True, False, False],
        "vllm": [True] * 5,
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("databricks-chat", "/oidc/v1/token"),
        ("databricks-chat", "/oidc/accounts/a1/v1/token"),
        ("azure", "/tenant/oauth2/v2.0/token"),
    ],
)
async def test_tokens_are_issued_against_the_client_secret_and_can_be_revoked(
    name: str, path: str, start: Start
) -> None:
    server = await start(name, WORK, secret="right")
    fields = {"grant_type": "client_credentials", "scope": SCOPES[str(server.dialect.tokens)]}
    headers = {}
    if server.dialect.tokens == "databricks":
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        headers["authorization"] = f"Basic {pair}"
    else:
        fields |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    issued = (await server.form(path, fields, **headers)).json()
    assert issued["expires_in"] == 60
    bearer = {"authorization": f"Bearer {issued['access_token']}"}
    assert (await server.post(server.asking(), **bearer)).status_code == 200
    await server.post({}, "/scripted/revoke")
    assert (await server.post(server.asking(), **bearer)).status_code == 401
    assert (await server.form(path, {**fields, "scope": "other"}, **headers)).status_code == 400
    stranger = await server.form(path, fields, authorization="Basic eDp5")
    assert stranger.status_code == (401 if server.dialect.tokens == "databricks" else 200)


async def test_a_token_lives_only_so_long(start: Start) -> None:
    now = [0.0]
    credentials = Credentials(DIALECTS["databricks-chat"], "right", 60, lambda: now[0])
    basic = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    kind = {"content-type": "application/x-www-form-urlencoded", "authorization": basic}
    token = credentials.issue(kind, b"grant_type=client_credentials&scope=all-apis")["access_token"]
    assert credentials.accepts({"authorization": f"Bearer {token}"})
    now[0] = 61
    assert not credentials.accepts({"authorization": f"Bearer {token}"})


async def test_too_many_requests_in_a_minute_are_told_to_wait(start: Start) -> None:
    server = await start("azure", WORK, rpm=1)
    assert (await server.post(server.asking())).status_code == 200
    refused = await server.post(server.asking())
    assert (refused.status_code, refused.headers["apim-request-id"]) == (429, "apim-1")
    assert 0 < int(refused.headers["retry-after"]) <= 60


@pytest.mark.parametrize("name", sorted(DIALECTS))
async def test_a_status_has_the_dialects_own_error_body(name: str, start: Start) -> None:
    fault = {"status": 429, "message": "slow down", "headers": {"retry-after": "7"}}
    server = await start(name, {"text": "no", "fault": fault})
    answered = await server.post(server.asking())
    body = answered.json()
    assert (answered.status_code, answered.headers["retry-after"]) == (429, "7")
    assert "slow down" in json.dumps(body)
    assert ("error_code" in body) == name.startswith("databricks")
    assert (body.get("type") == "error") == (server.dialect.error == "anthropic")


async def test_databricks_has_no_way_to_count_and_says_so(start: Start) -> None:
    server = await start("databricks-anthropic", WORK)
    answered = await server.post(server.asking(), "/serving-endpoints/anthropic/v1/messages/count_tokens")
    assert answered.status_code == 404
    assert "invocations" in answered.json()["message"]


CALLS: Json = {
    "blocks": [
        {"tool_use": {"name": "Bash", "input": {"command": "one"}}},
        {"tool_use": {"name": "Bash", "input": {"command": "two"}}},
    ]
}


async def stream_with(wire: Json, start: Start, turn: Json = CALLS, name: str = "vllm") -> httpx.Response:
    server = await start(name, {**turn, "wire": wire})
    return await server.post(server.asking())


async def test_deltas_of_calls_come_in_every_odd_form(start: Start) -> None:
    calls = {}
    for form in (
        "repeated id",
        "split name",
        "interleaved",
        "no index",
        "whole",
        "object",
        "not json",
        "duplicate",
        "new id",
    ):
        chunks = data_of(await stream_with({"deltas": form}, start))
        calls[form] = [call for delta in deltas_of(chunks) for call in delta.get("tool_calls", [])]
    assert all("id" in call for call in calls["repeated id"])
    assert [call["function"].get("name") for call in calls["split name"]][:2] == ["Ba", "sh"]
    order = [call["index"] for call in calls["interleaved"]]
    assert order != sorted(order)
    assert not any("index" in call for call in calls["no index"])
    assert [call["function"]["arguments"] for call in calls["whole"]] == ['{"command":"one"}', '{"command":"two"}']
    assert calls["object"][0]["function"]["arguments"] == {"command": "one"}
    with pytest.raises(ValueError, match=r"Unterminated|delimiter"):
        json.loads("".join(call["function"]["arguments"] for call in calls["not json"] if call["index"] == 0))
    assert calls["duplicate"][0] == calls["duplicate"][1]
    assert {call["index"] for call in calls["new id"]} == {0}


async def test_counts_lie_go_missing_and_come_early(start: Start) -> None:
    found = {
        form: data_of(await stream_with({"usage": form}, start))
        for form in ("missing", "zero", "lying", "before finish")
    }
    assert not any("usage" in chunk for chunk in found["missing"])
    assert found["zero"][-1]["usage"]["total_tokens"] == 0
    honest = data_of(await stream_with({}, start))[-1]["usage"]["total_tokens"]
    assert found["lying"][-1]["usage"]["total_tokens"] == 10 * honest
    assert found["before finish"][-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_bytes_are_odd_but_say_the_same(start: Start) -> None:
    plain = await stream_with({}, start)
    for wire in ({"gzip": True}, {"byte_by_byte": True}, {"gzip": True, "byte_by_byte": True}, {"comments": True}):
        assert data_of(await stream_with(wire, start)) == data_of(plain)
    assert (await stream_with({"gzip": True}, start)).headers["content-encoding"] == "gzip"
    assert (await stream_with({"crlf": True}, start)).content == plain.content.replace(b"\n", b"\r\n")
    assert (await stream_with({"no_final_blank": True}, start)).content == plain.content.rstrip(b"\n")
    assert not (await stream_with({"no_done": True}, start)).text.endswith("[DONE]\n\n")
    assert b'{"id": "chat\n\n' in (await stream_with({"garbage": True}, start)).content
    first = deltas_of(data_of(await stream_with({"first_delta": True}, start, {"text": "words"})))[0]
    assert (first["role"], first["content"]) == ("assistant", "wo")
    assert deltas_of(data_of(await stream_with({"no_content": True}, start, {"text": "x"}))) == [{}]


@pytest.mark.parametrize("name", ["vllm", "azure", "databricks-anthropic"])
async def test_errors_come_with_status_200_as_a_page_and_in_the_middle(name: str, start: Start) -> None:
    inside = await stream_with({"error_in_200": True}, start, {"text": "x"}, name)
    assert inside.status_code == 200
    assert "the engine has died" in inside.text
    page = await stream_with({"html": 502}, start, {"text": "x"}, name)
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html")
    fault = {"error_event": {"message": "gone"}, "after_events": 2}
    server = await start(name, {"text": "some words", "fault": fault})
    middle = (await server.post(server.asking())).text
    assert "gone" in middle
    assert "[DONE]" not in middle
    assert "message_stop" not in middle


@pytest.mark.parametrize("name", ["openrouter", "azure"])
async def test_a_stream_is_cut_where_the_fault_says(name: str, start: Start) -> None:
    for fault in ({"cut": "close", "after_bytes": 10}, {"cut": "reset", "after_events": 2}):
        server = await start(name, {"text": "some words", "fault": fault})
        with pytest.raises(httpx.TransportError):
            await server.post(server.asking())
    server = await start(name, {"text": "some words", "fault": {"cut": "clean", "after_bytes": 10}})
    assert len((await server.post(server.asking())).content) == 10


@pytest.mark.parametrize("name", ["llamacpp", "databricks-anthropic"])
async def test_an_endless_stream_goes_on_until_its_reader_leaves(name: str, start: Start) -> None:
    server = await start(name, {"text": "word", "wire": {"endless": True}})
    seen = b""
    async with server.stream(server.asking()) as response:
        if response.status_code != 200:
            await response.aread()
        async for piece in response.aiter_raw():
            seen += piece
            if seen.count(b'"w') > 20:
                break
    assert b"DONE" not in seen
    assert b"message_stop" not in seen


async def test_a_typo_in_a_wire_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="gzipped"):
        take_wires({"turns": [{"text": "x", "wire": {"gzipped": True}}]})


def test_the_program_ends_with_status_3_after_a_violation(tmp_path: Path) -> None:
    upstream = FakeUpstream("mistral", {"turns": [{"text": "hello"}]}, tmp_path)
    with httpx.Client(base_url=upstream.url, trust_env=False, headers={"authorization": "Bearer x"}) as client:
        body: Json = {"model": "m", "messages": [{"role": "user", "content": "go"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert client.post("/v1/chat/completions", json={**body, "max_completion_tokens": 1}).status_code == 400
    assert upstream.stop() == 3
    assert [entry["conversation"] for entry in upstream.lines("request") if "conversation" in entry] == ["main"]
    assert len(upstream.refused()) == 2


def test_a_scenario_that_is_none_stops_the_start(tmp_path: Path) -> None:
    scenario = tmp_path / "wrong.yaml"
    scenario.write_text(yaml.safe_dump({"turnes": []}))
    command = [sys.executable, "-m", "tests.upstreams", "--dialect", "vllm", "--scenario", str(scenario)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"turnes" in done.stderr
