"""Databricks: every path that a configuration may name, what goes there, and what its errors become."""

import json
from typing import Any

import pytest
from answering import EVENTS, AnsweringStarter, Asked, answered, chunked, event

from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.base import Provider, UpstreamError, UpstreamFailure, UpstreamRequest
from gateway.providers.credentials import StaticHeaders
from gateway.providers.databricks import DatabricksPlace, databricks_place, databricks_provider, way_of

WS = "https://ws.test"
SERVING = f"{WS}/serving-endpoints"
PLACES: list[tuple[str, str | None, DatabricksPlace]] = [
    (WS, None, DatabricksPlace("by model", WS)),
    (f"{WS}/", "/serving-endpoints", DatabricksPlace("by model", WS)),
    (SERVING, None, DatabricksPlace("by model", WS)),
    (WS, "/serving-endpoints/ep-1/invocations", DatabricksPlace("invocations", f"{SERVING}/ep-1/invocations", "ep-1")),
    (SERVING, "/serving-endpoints/ep/invocations/", DatabricksPlace("invocations", f"{SERVING}/ep/invocations", "ep")),
    (f"{SERVING}/ep/invocations", None, DatabricksPlace("invocations", f"{SERVING}/ep/invocations", "ep")),
    (WS, "/serving-endpoints/ep/served-models/m-2/invocations",
     DatabricksPlace("invocations", f"{SERVING}/ep/served-models/m-2/invocations", "m-2")),
    (WS, "/served-models/m-2/invocations",
     DatabricksPlace("invocations", f"{WS}/served-models/m-2/invocations", "m-2")),
    (WS, "/serving-endpoints/anthropic/v1/messages", DatabricksPlace("messages", f"{SERVING}/anthropic")),
    (WS, "/serving-endpoints/anthropic", DatabricksPlace("messages", f"{SERVING}/anthropic")),
    (WS, "/serving-endpoints/chat/completions", DatabricksPlace("chat", f"{SERVING}/chat/completions")),
    (WS, "/ai-gateway/anthropic/v1/messages", DatabricksPlace("messages", f"{WS}/ai-gateway/anthropic")),
    (WS, "/ai-gateway/mlflow/v1/chat/completions",
     DatabricksPlace("chat", f"{WS}/ai-gateway/mlflow/v1/chat/completions")),
    ("https://door.test/team/serving-endpoints/anthropic", None,
     DatabricksPlace("messages", "https://door.test/team/serving-endpoints/anthropic")),
    ("https://door.test/team", "/serving-endpoints/ep/invocations",
     DatabricksPlace("invocations", "https://door.test/team/serving-endpoints/ep/invocations", "ep")),
]  # fmt: skip


@pytest.mark.parametrize(("base", "path", "place"), PLACES)
def test_an_address_and_a_path_name_one_place(base: str, path: str | None, place: DatabricksPlace) -> None:
    assert databricks_place(base, path) == place


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("ws.test", None),
        ("ftp://ws.test", None),
        (WS, "/serving-endpoints/ep"),
        (WS, "/serving-endpoints/ep/query"),
        (WS, "/invocations"),
        (WS, "/api/2.0/serving-endpoints"),
        (WS, "/serving-endpoints/a/b/invocations"),
    ],
)
def test_any_other_address_is_refused(base: str, path: str | None) -> None:
    with pytest.raises(ValueError, match=r"not a(n http| path)"):
        databricks_place(base, path)


WAYS = [
    ("databricks-claude-opus-5-5", "/serving-endpoints/anthropic"),
    ("databricks-meta-llama-3.3-70b", "/serving-endpoints/chat/completions"),
    ("system.ai.claude-opus-5-5", "/ai-gateway/anthropic"),
    ("main.models.qwen", "/ai-gateway/mlflow/v1/chat/completions"),
]


@pytest.mark.parametrize(("model", "path"), WAYS)
def test_where_the_choice_is_left_it_goes_by_the_model(model: str, path: str) -> None:
    assert way_of(model) == path


def request(model: str, **fields: Any) -> UpstreamRequest:
    body = {"model": model, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "go"}], **fields}
    return UpstreamRequest(json.dumps(body).encode(), {"anthropic-version": "2026-10-21", "anthropic-beta": "new-2026"})


def chunk(**fields: Any) -> bytes:
    return f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'choices': [], **fields})}\n\n".encode()


CHAT = [
    chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}]),
    chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    chunk(usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}),
    b"data: [DONE]\n\n",
]


def either(asked: Asked) -> list[bytes]:
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}
    return chunked(*EVENTS[:-1], event("message_stop", **metrics)) if "anthropic" in asked.target else chunked(*CHAT)


async def text(provider: Provider, asked: UpstreamRequest) -> str:
    said = ""
    async with provider.stream(asked) as stream:
        async for one in stream:
            assert "amazon-bedrock-invocationMetrics" not in one.data
            said += one.data.get("delta", {}).get("text", "")
    return said


@pytest.mark.parametrize(("model", "path"), WAYS)
async def test_one_provider_takes_each_model_its_way(answering: AnsweringStarter, model: str, path: str) -> None:
    server = await answering(either)
    provider = databricks_provider(server.url, StaticHeaders("bearer", "dapi1"))
    said = "é😀" if "anthropic" in path else "hi"
    assert await text(provider, request(model)) == said
    assert await text(provider, UpstreamRequest(request("alias").body, {}, model=model)) == said
    assert await provider.count_tokens(request(model)) is None
    assert await provider.models() == []
    await provider.aclose()
    assert len(server.asked) == 2
    for asked in server.asked:
        assert asked.target == path + ("/v1/messages" if "anthropic" in path else "")
        assert asked.json["model"] == model
        assert asked.headers["authorization"] == "Bearer dapi1"
        assert asked.headers["user-agent"].startswith("bulkhead/")
        assert "x-api-key" not in asked.headers


async def test_the_native_route_gets_what_it_understands(answering: AnsweringStarter) -> None:
    server = await answering(either)
    provider = databricks_provider(
        server.url, StaticHeaders("basic", "dapi1"), path="/serving-endpoints/anthropic/v1/messages"
    )
    assert isinstance(provider, AnthropicProvider)
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "B", "input_schema": {"type": "object"}}]
    asked = request("databricks-claude-sonnet-4-5", container="c", future=1, tools=tools)
    assert not provider.relays(asked)
    assert await text(provider, asked) == "é😀"
    await provider.aclose()
    (sent,) = server.asked
    assert sent.headers["authorization"] == "Basic dG9rZW46ZGFwaTE="
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in sent.headers
    assert not {"container", "future"} & set(sent.json)
    assert [tool["name"] for tool in sent.json["tools"]] == ["B"]


async def test_an_endpoint_of_its_own_is_asked_without_a_model(answering: AnsweringStarter) -> None:
    server = await answering(either)
    path = "/serving-endpoints/databricks-claude-sonnet-4-5/invocations"
    provider = databricks_provider(server.url, StaticHeaders("bearer", "dapi1"), path=path)
    assert await text(provider, request("claude-opus-5-5")) == "hi"
    await provider.aclose()
    (sent,) = server.asked
    assert sent.target == path
    assert "model" not in sent.json
    assert "max_completion_tokens" not in sent.json


FAULTS: list[tuple[bytes, int, str | None]] = [
    (answered(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many"}, retry_after="9"), 429, "9"),
    (answered(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many"}), 429, None),
    (answered(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "scaling from zero"}), 529, None),
    (answered(503, b"<html>starting</html>", content_type="text/html"), 529, None),
    (answered(403, {"error_code": "PERMISSION_DENIED", "message": "no"}), 500, None),
    (answered(403, {"error_code": "403", "message": "Invalid access token."}), 500, None),
    (answered(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "endpoint x"}), 404, None),
    (answered(400, {"error": {"message": "plain"}}), 400, None),
    (answered(400, {"error_code": "BAD_REQUEST", "message": '{"message":"Input is too long."}'}), 400, None),
]


@pytest.mark.parametrize(("answer", "status", "wait"), FAULTS)
@pytest.mark.parametrize("model", ["databricks-claude-x", "databricks-qwen"])
async def test_its_errors_have_the_apis_statuses_on_every_route(
    answering: AnsweringStarter, answer: bytes, status: int, wait: str | None, model: str
) -> None:
    server = await answering(lambda _: answer)
    provider = databricks_provider(server.url, StaticHeaders("bearer", "dapi1"))
    with pytest.raises(UpstreamFailure) as caught:
        await text(provider, request(model))
    await provider.aclose()
    assert isinstance(caught.value, UpstreamError)
    assert caught.value.answer.status == status
    assert caught.value.retry_after == wait
    if b"too long" in answer:
        assert caught.value.message == "Input is too long."
