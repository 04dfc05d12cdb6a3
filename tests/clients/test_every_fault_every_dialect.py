"""Whatever an upstream of any kind does on the wire, the client sees the answer or an error, in a legal stream."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.matrix import DIALECT_NAMES, Matrix, model_on
from tests.support.messages_api import WAIT_SECONDS, Answer, answer_of
from tests.support.project import Project
from tests.support.wire_faults import BROKEN, EITHER, HARMLESS, INPUTS, WORDS, prompt

pytestmark = pytest.mark.engine

Json = dict[str, Any]

WEATHER: Json = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
BASH: Json = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
ONLY_STREAMS = {"ended in the middle", "error in the middle", "error at the beginning", "cut JSON"}
"""Faults that an answer in one piece cannot have."""
MINE = {"400": (400,), "401": (500,), "403": (403, 500), "404": (404, 500), "429": (429,)}
"""Statuses of the upstream that have one for the client; its refusal of our credential is never the client's."""


@pytest.fixture(scope="module")
def client(matrix: Matrix) -> Iterator[httpx.Client]:
    """With nothing of an SDK in it, so that every byte is seen."""
    headers = {"x-api-key": Project.make(matrix.gateway).key, "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=matrix.gateway.url, headers=headers, trust_env=False, timeout=WAIT_SECONDS) as one:
        yield one


@pytest.fixture(scope="module")
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(6) as pool:
        yield pool


def answers(fault: str, client: httpx.Client, workers: ThreadPoolExecutor, *tools: Json) -> dict[str, Answer]:
    """What the client gets through each dialect, streamed and, under `NAME whole`, in one piece."""

    def ask(dialect: str, stream: bool) -> Answer:
        body = {
            "model": model_on(dialect),
            "max_tokens": 4000,
            "messages": [{"role": "user", "content": prompt(fault)}],
            "tools": [WEATHER, *tools],
            "stream": stream,
        }
        response = client.post("/v1/messages", json=body)
        return answer_of(response.status_code, response.headers, response.content)

    asked = {
        (dialect, stream): workers.submit(ask, dialect, stream) for dialect in DIALECT_NAMES for stream in (True, False)
    }
    return {dialect + ("" if stream else " whole"): one.result() for (dialect, stream), one in asked.items()}


def failed(answer: Answer) -> bool:
    """Whether the client was told of an error. Fails where it was told neither of one nor of the end."""
    if answer.status != 200:
        assert answer.message["type"] == "error", answer.body
        return True
    if not answer.events:
        assert answer.message["type"] == "message", answer.body
        return False
    last, data = answer.events[-1]
    assert last in ("message_stop", "error"), answer.events
    assert last == "message_stop" or data["error"]["message"], data
    assert [name for name, _ in answer.events].count("message_start") <= 1
    return last == "error"


def failures(fault: str, client: httpx.Client, workers: ThreadPoolExecutor) -> dict[str, bytes]:
    """The bodies of those answers that are errors."""
    return {name: answer.body for name, answer in answers(fault, client, workers).items() if failed(answer)}


@pytest.mark.parametrize("dialect", ["azure", "databricks-anthropic"])
def test_a_revoked_token_costs_one_new_one_and_the_client_nothing(
    dialect: str, matrix: Matrix, client: httpx.Client, workers: ThreadPoolExecutor
) -> None:
    """First of the file: the gateway throws away at most one token in a while, whatever an upstream says of it."""
    upstream = matrix.upstreams[dialect]
    assert failures("nothing", client, workers) == {}
    before = upstream.tokens_issued()
    upstream.revoke_tokens()
    assert failures("nothing", client, workers) == {}
    assert upstream.tokens_issued() == before + 1


@pytest.mark.parametrize("sandboxed", [False, True], ids=["forwarded", "with the sandbox"])
@pytest.mark.parametrize("fault", HARMLESS)
def test_what_only_looks_odd_changes_nothing(
    fault: str, sandboxed: bool, client: httpx.Client, workers: ThreadPoolExecutor
) -> None:
    wrong: dict[str, object] = {}
    for name, answer in answers(fault, client, workers, *([BASH] if sandboxed else [])).items():
        if failed(answer):
            wrong[name] = answer.body[-300:]
            continue
        said = "".join(block["text"] for block in answer.blocks if block["type"] == "text")
        inputs = [block["input"] for block in answer.blocks if block["type"] == "tool_use"]
        found = (said, inputs, answer.message["stop_reason"])
        if found != (WORDS, INPUTS, "tool_use"):
            wrong[name] = found
        ids = [block["id"] for block in answer.blocks if block["type"] == "tool_use"]
        assert len(set(ids)) == len(ids)
        assert answer.message["usage"]["input_tokens"] >= 0
    assert wrong == {}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_breaks_is_told_as_an_error(fault: str, client: httpx.Client, workers: ThreadPoolExecutor) -> None:
    wrong: dict[str, object] = {}
    for name, answer in answers(fault, client, workers).items():
        whole_anyway = name.endswith("whole") and fault in ONLY_STREAMS
        if not failed(answer) and not whole_anyway:
            wrong[name] = answer.body[-300:]
        if answer.status == 401 or b"front door" in answer.body.lower() or b"Authorization" in answer.body:
            wrong[name] = (answer.status, answer.body)
        allowed = MINE.get(fault.removeprefix("status "))
        if allowed is not None and answer.status not in allowed:
            wrong[name] = (answer.status, answer.body)
        if fault == "status 429" and answer.headers.get("retry-after") != "7":
            wrong[name] = dict(answer.headers)
    assert wrong == {}


@pytest.mark.parametrize("fault", EITHER)
def test_what_can_be_read_either_way_is_still_legal(
    fault: str, client: httpx.Client, workers: ThreadPoolExecutor
) -> None:
    for answer in answers(fault, client, workers).values():
        failed(answer)


def test_nothing_of_an_upstreams_identity_reaches_the_client(client: httpx.Client, workers: ThreadPoolExecutor) -> None:
    for name, answer in answers("nothing", client, workers).items():
        leaked = [
            header
            for header in answer.headers
            if header.startswith(("x-ms-", "apim", "x-databricks", "openai-", "cf-", "mistral-", "x-generation"))
            or header in ("via", "x-request-id", "anthropic-organization-id", "anthropic-ratelimit-requests-limit")
        ]
        assert leaked == [], name
        assert answer.headers["request-id"] != "req_of_the_upstream"
        assert answer.message["model"] == model_on(name.removesuffix(" whole"))
        assert b"amazon-bedrock" not in answer.body
