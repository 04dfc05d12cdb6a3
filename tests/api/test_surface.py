"""Every answer has an id and every error the API's envelope; health, models and token counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Caller, asking
from tests.support.places import Member, serving
from tests.support.scenes import fails, scene
from tests.support.scripted import ScriptedUpstream

SCENES = [scene("credential refused", fails(status=401))]
REQUEST_ID = re.compile(r"req_[0-9a-f]{24}")


def bare(gateway: Gateway, method: str, path: str) -> httpx.Response:
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        return client.request(method, path)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "kind"),
    [
        ("GET", "/nowhere", b"", 404, "not_found_error"),
        ("GET", "/v1/messages/", b"", 404, "not_found_error"),
        ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
        ("DELETE", "/v1/models", b"", 405, "invalid_request_error"),
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
        ("POST", "/v1/messages/count_tokens", b"[]", 400, "invalid_request_error"),
        ("GET", "/v1/models/nobody", b"", 404, "not_found_error"),
        ("GET", "/v1/models?limit=0", b"", 400, "invalid_request_error"),
        ("GET", "/api/sessions/s-0", b"", 404, "not_found_error"),
        ("POST", "/v1/messages", json.dumps(asking("credential refused")).encode(), 500, "api_error"),
    ],
)
def test_every_error_is_the_apis_envelope_with_the_id_of_the_request(
    method: str, path: str, content: bytes, status: int, kind: str, member: Member
) -> None:
    answer = member.caller.request(method, path, content=content)
    body = answer.json()
    assert (answer.status_code, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert answer.headers["content-type"] == "application/json"
    assert REQUEST_ID.fullmatch(answer.headers["request-id"])
    assert body["request_id"] == answer.headers["request-id"]


def test_no_two_requests_share_an_id(gateway: Gateway) -> None:
    assert len({bare(gateway, "GET", "/").headers["request-id"] for _ in range(5)}) == 5


def test_clients_may_knock_without_a_key(gateway: Gateway) -> None:
    head = bare(gateway, "HEAD", "/")
    assert (head.status_code, head.content) == (200, b"")
    assert bare(gateway, "GET", "/").json()["name"] == "bulkhead"
    for path in ("/health", "/health/live", "/health/ready"):
        answer = bare(gateway, "GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert REQUEST_ID.fullmatch(answer.headers["request-id"])


def pages(caller: Caller, query: str) -> tuple[list[str], bool]:
    listed = caller.request("GET", f"/v1/models?{query}").json()
    ids = [model["id"] for model in listed["data"]]
    assert (listed["first_id"], listed["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, listed["has_more"]


def test_the_upstreams_models_are_listed_in_pages(member: Member) -> None:
    every = [f"{prefix}{name}" for name in ("model-a", "model-b", "model-c") for prefix in ("", "claude-via-")]
    assert pages(member.caller, "") == (every, False)
    assert pages(member.caller, "limit=2") == (every[:2], True)
    assert pages(member.caller, f"limit=2&after_id={every[3]}") == (every[4:], False)
    assert pages(member.caller, f"limit=1&before_id={every[4]}") == (every[3:4], True)
    assert pages(member.caller, f"after_id={every[5]}") == ([], False)
    assert member.caller.request("GET", "/v1/models/model-b").json()["id"] == "model-b"


def test_count_tokens_is_answered_by_the_upstream_for_what_it_would_get(
    member: Member, upstream: ScriptedUpstream
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "how long"}], "tools": [BASH, {"name": "WebFetch"}]}
    answer = member.caller.request("POST", "/v1/messages/count_tokens", json=body)
    assert answer.status_code == 200
    [asked] = [entry["body"] for entry in upstream.lines("request") if entry["path"].endswith("count_tokens")]
    assert asked == {**body, "tools": [BASH]}
    assert answer.json()["input_tokens"] > 0


def test_count_tokens_tells_what_edits_of_the_context_save(member: Member) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "a long result " * 2000}
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01", "name": "look", "input": {}}]},
        {"role": "user", "content": [result]},
    ]
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "input_tokens", "value": 100},
        "keep": {"type": "tool_uses", "value": 0},
    }
    body = {"model": "m", "messages": messages, "context_management": {"edits": [edit]}}
    told = member.caller.request("POST", "/v1/messages/count_tokens", json=body).json()
    assert told["context_management"]["original_input_tokens"] > told["input_tokens"] + 1000


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "bubblewrap", "BULKHEAD_MODELS": "only-this, and-that"}
    with serving(tmp_path_factory.mktemp("narrow"), upstream_url, **variables) as running:
        yield running


def test_configured_models_are_the_only_ones(narrow: Gateway, upstream: ScriptedUpstream) -> None:
    caller = Caller(narrow.url, narrow.first_key)
    assert pages(caller, "") == (["only-this", "claude-via-only-this", "and-that", "claude-via-and-that"], False)
    assert caller.request("GET", "/v1/models/model-a").status_code == 404
    before = len(upstream.lines("request"))
    refused = caller.ask(asking("hello"))
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "claude-test" in refused.error["message"]
    assert len(upstream.lines("request")) == before
    assert caller.ask({**asking("hello"), "model": "and-that"}).texts == ["ok"]
