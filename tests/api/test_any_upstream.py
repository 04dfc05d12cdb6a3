"""Whatever an upstream answers and wherever it breaks off: the client gets a legal stream to its end, or an error."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.gateway import Gateway
from tests.support.hostile_answers import ERRORS, SECRET, STATUSES, Dialect, Json, chat_text, messages_text, scripts
from tests.support.hostile_checks import check_answer
from tests.support.messages_api import BASH, asking
from tests.support.places import Member, join, serving
from tests.support.raw_upstream import RawUpstream, Script, chunked, with_length

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "30"))
LOOK = {"command": "true"}
SPARE = "spare"

UPSTREAMS = """
upstreams:
  native: {{kind: anthropic, url: "{url}", credential: {{env: UPSTREAM_SECRET}}}}
  chat: {{kind: openai, url: "{url}/v1", dialect: vllm, credential: {{env: UPSTREAM_SECRET}}}}
discovery: false
models:
  messages: {{upstream: native}}
  chat: {{upstream: chat, model: model-of-the-upstream}}
  spare: {{upstream: native, fallback: [{{upstream: chat}}]}}
"""

_turn = itertools.count()


@pytest.fixture(scope="module")
def hostile() -> Iterator[RawUpstream]:
    upstream = RawUpstream().start()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def upstream_url(hostile: RawUpstream) -> str:
    return hostile.url


@pytest.fixture(scope="module", autouse=True)
def upstream() -> None:
    """No script is played here."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, hostile: RawUpstream) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    listed = folder / "upstreams.yaml"
    listed.write_text(UPSTREAMS.format(url=hostile.url))
    variables = {
        "BULKHEAD_UPSTREAMS": str(listed),
        "UPSTREAM_SECRET": SECRET,
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_UPSTREAM_TIMEOUT_SECONDS": "0.3",
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "0",
        "BULKHEAD_HEARTBEAT_SECONDS": "0.1",
        "BULKHEAD_MAX_STEPS": "3",
        "BULKHEAD_GRACE_SECONDS": "0",
        "BULKHEAD_LOG_LEVEL": "error",
    }
    with serving(folder, hostile.url, **variables) as running:
        yield running
        failures = [line for line in running.process.stderr.splitlines() if "unexpected_failure" in line]
        assert not failures, failures[:3]


@pytest.fixture(scope="module")
def caller(gateway: Gateway) -> Member:
    return join(gateway)


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        yield client


@st.composite
def answers(draw: st.DrawFn, model: str, tools: bool) -> list[Script]:
    """What the upstream answers to the calls of one request."""
    dialects: list[Dialect] = {"messages": ["messages"], "chat": ["chat"]}.get(model, ["messages", "chat"])  # type: ignore[assignment]
    first = [draw(scripts(dialect, ("Bash", LOOK) if tools else None)) for dialect in dialects]
    return [*first, draw(scripts(dialects[-1]))] if tools else first


def ask(http: httpx.Client, caller: Member, model: str, *tools: Json, stream: bool) -> httpx.Response:
    body = asking(f"turn {next(_turn)}", *tools, stream=stream, model=model)
    return http.post("/v1/messages", json=body, headers=caller.caller.headers())


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("tools", [False, True], ids=["plain", "with tools"])
@pytest.mark.parametrize("model", ["messages", "chat", SPARE])
def test_the_client_sees_a_legal_answer_or_an_error(
    model: str, tools: bool, stream: bool, hostile: RawUpstream, http: httpx.Client, caller: Member
) -> None:
    hidden = [SECRET, f"127.0.0.1:{hostile.port}", "127.0.0.1:9999", "Traceback"]

    examples = EXAMPLES // 2 if tools else EXAMPLES  # each asks twice, and waits before it asks again

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 100)
    @given(played=answers(model, tools))
    def check(played: list[Script]) -> None:
        hostile.play(*played)
        answer = ask(http, caller, model, *([BASH] if tools else []), stream=stream)
        seen = check_answer(
            answer.status_code, answer.headers, answer.content, stream=stream, model=model, hidden=hidden
        )
        event(f"{answer.status_code} {seen}")

    check()
    hostile.play((b"",))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("tools", [False, True], ids=["plain", "with tools"])
@pytest.mark.parametrize("model", ["messages", "chat"])
def test_an_answer_that_ends_after_any_of_its_events_is_no_whole_answer(
    model: str, tools: bool, stream: bool, hostile: RawUpstream, http: httpx.Client, caller: Member
) -> None:
    """The chat dialect's answer is whole with its finish reason; what follows are counts and a mark."""
    events = messages_text() if model == "messages" else chat_text()
    least = len(events) if model == "messages" else len(events) - 2
    ends: list[Script] = [(b"0\r\n\r\n",), ("close",), ("reset",)]
    for at, end in itertools.product(range(1, least), ends):
        hostile.play((chunked(events[:at], end=False), *end))
        answer = ask(http, caller, model, *([BASH] if tools else []), stream=stream)
        seen = check_answer(
            answer.status_code, answer.headers, answer.content, stream=stream, model=model, hidden=[SECRET]
        )
        assert seen == "error", (at, end)


@pytest.mark.parametrize("model", ["messages", "chat"])
def test_a_refusal_of_any_kind_tells_nothing_of_the_operators(
    model: str, hostile: RawUpstream, http: httpx.Client, caller: Member
) -> None:
    for (body, kind), status in itertools.product(ERRORS, STATUSES):
        hostile.play((with_length(body, status, f"application/{kind}"),))
        answer = ask(http, caller, model, stream=True)
        hidden = [SECRET, "127.0.0.1:9999"]
        seen = check_answer(answer.status_code, answer.headers, answer.content, stream=True, model=model, hidden=hidden)
        assert seen == "error", (body, status)
