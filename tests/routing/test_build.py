"""From variables to what arrives at an upstream: paths, credentials, models. Over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.providers.base import UpstreamError, UpstreamRequest
from gateway.routing.build import build_router, plan_of
from gateway.routing.network import way_to
from gateway.settings import CONFIG_VARIABLE, Settings, SettingsError, load_settings, variable_of

ASKED = UpstreamRequest(
    json.dumps(
        {"model": "claude-a", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    ).encode()
)


@dataclass
class Listener:
    """Refuses every model call with 400 and gives a token to whoever asks; notes what came."""

    port: int = 0
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = head[0].split(" ")[1]
            self.came.append((path, headers, body))
            token = path.endswith("/token")
            answer: Any = {"access_token": "fresh", "token_type": "Bearer", "expires_in": 3600}
            if not token:
                answer = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
            encoded = json.dumps(answer).encode()
            status = "200 OK" if token else "400 Bad Request"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n".encode())
            writer.write(f"content-length: {len(encoded)}\r\n\r\n".encode() + encoded)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    for variable in (CONFIG_VARIABLE, "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


MESSAGES = "/serving-endpoints/anthropic/v1/messages"
INVOCATIONS = "/serving-endpoints/databricks-claude-sonnet-4-5/invocations"
DATABRICKS = {"MODEL_PROVIDER": "databricks", "DATABRICKS_API_BASE": "{url}"}
AZURE = {"MODEL_PROVIDER": "azure-anthropic", "AZURE_ANTHROPIC_API_KEY": "k"}
OPENAI = {"MODEL_PROVIDER": "openai", "OPENAI_BASE_URL": "{url}/v1"}
WORKS: list[tuple[dict[str, str], str, dict[str, str | None], str | None]] = [
    (
        {"ANTHROPIC_ENDPOINT": "{url}", "ANTHROPIC_API_KEY": "k"},
        "/v1/messages",
        {"x-api-key": "k", "anthropic-version": "2023-06-01", "authorization": None},
        "claude-a",
    ),
    (
        {"ANTHROPIC_ENDPOINT": "{url}/v1/messages", "ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_SCHEME": "bearer"},
        "/v1/messages",
        {"authorization": "Bearer k", "x-api-key": None},
        "claude-a",
    ),
    (
        {**AZURE, "AZURE_ANTHROPIC_ENDPOINT": "{url}/anthropic"},
        "/anthropic/v1/messages",
        {"api-key": "k", "x-api-key": "k", "anthropic-version": "2023-06-01"},
        "claude-a",
    ),
    (
        {
            **AZURE,
            "AZURE_ANTHROPIC_ENDPOINT": "{url}/anthropic/v1/messages",
            "AZURE_ANTHROPIC_AUTH": "api-key",
            "AZURE_ANTHROPIC_VERSION": "2026-10-21",
        },
        "/anthropic/v1/messages",
        {"api-key": "k", "x-api-key": None, "anthropic-version": "2026-10-21"},
        "claude-a",
    ),
    (
        {
            **AZURE,
            "AZURE_ANTHROPIC_ENDPOINT": "{url}/anthropic",
            "AZURE_ANTHROPIC_AUTH": "entra",
            "AZURE_CLIENT_ID": "app",
            "AZURE_CLIENT_SECRET": "s",
            "AZURE_TOKEN_URL": "{url}/token",
        },
        "/anthropic/v1/messages",
        {"authorization": "Bearer fresh", "api-key": None, "x-api-key": None},
        "claude-a",
    ),
    (
        {**DATABRICKS, "DATABRICKS_API_KEY": "k"},
        MESSAGES,
        {"authorization": "Bearer k", "x-api-key": None},
        "claude-a",
    ),
    (
        {**DATABRICKS, "DATABRICKS_API_KEY": "k", "DATABRICKS_ENDPOINT_PATH": INVOCATIONS},
        INVOCATIONS,
        {"authorization": "Bearer k"},
        None,
    ),
    (
        {**DATABRICKS, "DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": "s"},
        MESSAGES,
        {"authorization": "Bearer fresh"},
        "claude-a",
    ),
    ({**OPENAI, "OPENAI_API_KEY": "k"}, "/v1/chat/completions", {"authorization": "Bearer k"}, "claude-a"),
    ({**OPENAI, "OPENAI_DIALECT": "vllm"}, "/v1/chat/completions", {"authorization": None}, "claude-a"),
]


@pytest.mark.parametrize(("variables", "path", "headers", "model"), WORKS)
async def test_the_variables_of_a_provider_are_all_it_needs(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    path: str,
    headers: dict[str, str | None],
    model: str | None,
) -> None:
    async with listening() as upstream:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace("{url}", upstream.url))
        router = build_router(load_settings())
        with pytest.raises(UpstreamError) as caught:
            async with router.stream(ASKED):
                pass
        assert caught.value.status == 400
        await router.aclose()
    asked_path, sent, body = upstream.came[-1]
    assert asked_path == path
    assert {name: sent.get(name) for name in headers} == headers
    assert json.loads(body).get("model") == model
    assert len(upstream.came) == (2 if sent.get("authorization") == "Bearer fresh" else 1)


async def test_names_of_a_file_arrive_as_the_upstreams_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with listening() as upstream:
        file = tmp_path / "upstreams.yaml"
        file.write_text(
            f"""
upstreams:
  one: {{kind: anthropic, url: "{upstream.url}", headers: {{x-team: a}}, attempts: 1}}
models:
  claude-a: {{upstream: one, model: theirs}}
"""
        )
        monkeypatch.setenv("BULKHEAD_UPSTREAMS", str(file))
        router = build_router(load_settings())
        assert router.relays(ASKED)
        for opened in (router.stream, router.relay):
            with pytest.raises(UpstreamError):
                async with opened(ASKED):
                    pass
        await router.aclose()
    assert [json.loads(body)["model"] for _, _, body in upstream.came] == ["theirs", "theirs"]
    assert upstream.came[0][1]["x-team"] == "a"


async def test_a_version_of_a_file_is_sent_by_every_kind_that_has_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_OF_ONE", "k")
    for kind in ("anthropic", "azure", "databricks"):
        async with listening() as upstream:
            file = tmp_path / f"{kind}.yaml"
            credential = "" if kind == "anthropic" else "credential: {env: SECRET_OF_ONE}, "
            file.write_text(
                f"""
upstreams:
  one: {{kind: {kind}, url: "{upstream.url}", {credential}version: "2026-10-21", attempts: 1}}
models:
  claude-a: {{upstream: one}}
"""
            )
            monkeypatch.setenv("BULKHEAD_UPSTREAMS", str(file))
            router = build_router(load_settings())
            with pytest.raises(UpstreamError):
                async with router.stream(ASKED):
                    pass
            await router.aclose()
        assert upstream.came[0][1]["anthropic-version"] == "2026-10-21"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**OPENAI, "OPENAI_DIALECT": "vlllm"}, "upstream openai (openai): no chat dialect is called 'vlllm'"),
        (
            {**DATABRICKS, "DATABRICKS_API_KEY": "k", "DATABRICKS_ENDPOINT_PATH": "/nowhere"},
            "upstream databricks (databricks): not a path of Databricks model serving: /nowhere",
        ),
        ({"ANTHROPIC_API_KEY": "two\nlines"}, "upstream anthropic (anthropic): a credential has to be"),
        ({"BULKHEAD_UPSTREAM_PROXY": "http://"}, "upstream anthropic (anthropic): "),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE names /nowhere.pem, which is not a file."),
        ({"BULKHEAD_UPSTREAM_CA_FILE": __file__}, "upstream anthropic (anthropic): "),
    ],
)
async def test_what_no_provider_can_be_made_of_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("{url}", "http://127.0.0.1:1"))
    with pytest.raises(SettingsError) as caught:
        build_router(load_settings())
    assert said in str(caught.value)


USUAL = {"HTTPS_PROXY": "http://usual:1", "NO_PROXY": ".corp"}
WAYS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str], tuple[str | None, str]]] = [
    ("https://a.example", {}, {}, {}, (None, "")),
    ("https://a.example", {}, {}, USUAL, ("http://usual:1", ".corp")),
    ("http://a.example", {}, {}, USUAL, (None, ".corp")),
    ("https://a.example", {}, {}, {"https_proxy": "http://small:1"}, ("http://small:1", "")),
    ("https://a.example", {"upstream_proxy": "http://set:1"}, {}, USUAL, ("http://set:1", ".corp")),
    ("http://a.example", {"upstream_proxy": "http://set:1"}, {}, USUAL, ("http://set:1", ".corp")),
    ("https://a.example", {"upstream_no_proxy": "b"}, {}, USUAL, ("http://usual:1", "b")),
    (
        "https://a.example",
        {"upstream_proxy": "http://set:1"},
        {"proxy": "http://own:1"},
        USUAL,
        ("http://own:1", ".corp"),
    ),
    ("https://a.example", {"upstream_no_proxy": "b"}, {"no_proxy": ""}, USUAL, ("http://usual:1", "")),
]


@pytest.mark.parametrize(("url", "settings", "own", "environ", "expected"), WAYS)
def test_the_way_to_an_upstream_is_its_own_then_the_settings_then_the_usual_variables(
    url: str, settings: dict[str, Any], own: dict[str, Any], environ: dict[str, str], expected: tuple[str | None, str]
) -> None:
    way = way_to(url, Settings(**settings), environ=environ, **own)
    assert (way.proxy, way.no_proxy) == expected


def test_limits_of_the_settings_reach_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_CONCURRENCY": "9",
        "BULKHEAD_UPSTREAM_CONNECT_SECONDS": "2",
        "BULKHEAD_UPSTREAM_TIMEOUT_SECONDS": "30",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "0",
        "BULKHEAD_UPSTREAM_PATIENCE_SECONDS": "60",
        "BULKHEAD_MODELS": "claude-a",
    }.items():
        monkeypatch.setenv(name, value)
    plan = plan_of(load_settings())
    (one,) = plan.upstreams
    assert (one.attempts, one.concurrency, one.connect, one.silence, one.breaker_failures) == (1, 9, 2, 30, 0)
    assert (plan.patience, plan.offered, plan.default) == (60, ("claude-a",), "anthropic")
