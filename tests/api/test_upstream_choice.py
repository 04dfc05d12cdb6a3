"""Several upstreams behind one gateway: aliases, spare upstreams of another language, and who is paid for what."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.canned_upstream import Canned, CannedUpstream, canned_upstream, event, streamed, whole
from tests.support.fake_upstream import FakeUpstream
from tests.support.gateway import Gateway
from tests.support.limited import join_limited, usage_of
from tests.support.messages_api import BASH, Answer, Json, asking
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.raw_post import raw_post

JSON = "application/json"
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
REFUSED = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"}}'
DISCOVERY = {"user-agent": "claude-code/2.1.197"}
WEATHER: Json = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}

SPARE_SCENES: Json = {
    "models": ["spare-model"],
    "conversations": [
        {
            "name": "weather",
            "match": {"user": "weather"},
            "turns": [
                {
                    "blocks": [
                        {"text": "I ask."},
                        {"tool_use": {"name": "get_weather", "input": {"city": "Zürich"}}},
                    ]
                }
            ],
        },
        {
            "name": "shell",
            "match": {"user": "shell"},
            "turns": [
                {"blocks": [{"tool_use": {"name": "Bash", "input": {"command": "echo ran"}}}]},
                {"text": "It said ${last_tool_result}."},
            ],
        },
        {
            "name": "hello",
            "match": {"user": "hello"},
            "turns": [{"text": "The spare says hello.", "usage": {"input_tokens": 40, "output_tokens": 8}}],
        },
    ],
}

PRICES = """
[[model]]
name = "first-model"
input = 1000
output = 1000
[[model]]
name = "spare-model"
input = 10
output = 100
"""


@pytest.fixture(scope="module")
def first() -> Iterator[CannedUpstream]:
    with canned_upstream() as serving_it:
        yield serving_it


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    """A server of the chat API."""
    started = FakeUpstream("vllm", SPARE_SCENES, tmp_path_factory.mktemp("spare"))
    yield started
    started.stop()
    assert started.refused() == []


@pytest.fixture(autouse=True)
def first_is_well(first: CannedUpstream) -> None:
    first.seen.clear()
    first.answers = {'"stream":true': Canned(streamed("Hello.", model="first-model"))}
    first.answer = Canned([whole("Hello.", model="first-model")], content_type=JSON)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, first: CannedUpstream, spare: FakeUpstream) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    each = {"attempts": 1, "breaker_failures": 0}
    target = {"upstream": "first", "model": "first-model"}
    plan = {
        "upstreams": {
            "first": {"kind": "anthropic", "url": first.url, "credential": {"env": "FIRST_KEY"}, **each},
            "spare": {"kind": "openai", "url": f"{spare.url}/v1", "dialect": "vllm", **each},
        },
        "models": {
            "claude-house": {**target, "display_name": "House", "fallback": [spare_target("spare-model")]},
            "claude-alone": target,
            "claude-chat": spare_target("spare-model"),
            "qwen-house": spare_target("spare-model"),
            "first-model": {"upstream": "first"},
        },
    }
    (folder / "upstreams.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_GRACE_SECONDS": "0.2",
        "BULKHEAD_UPSTREAMS": str(folder / "upstreams.yaml"),
        "BULKHEAD_PRICES_FILE": str(folder / "prices.toml"),
        "FIRST_KEY": "first-secret",
    }
    with serving(folder, "http://127.0.0.1:9", **variables) as running:
        yield running


def spare_target(model: str) -> Json:
    return {"upstream": "spare", "model": model}


def overloaded(first: CannedUpstream, status: int = 529, body: bytes = OVERLOADED) -> None:
    first.answers = {"": Canned([body], status, JSON)}


def ask(member: Member, prompt: str, *tools: Json, stream: bool = False, model: str = "claude-house") -> Answer:
    return member.caller.ask(asking(prompt, *tools, stream=stream, model=model))


STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


# -- names


@STREAMS
def test_an_alias_is_translated_there_and_back(stream: bool, member: Member, first: CannedUpstream) -> None:
    """Nothing but the name changes, in either direction."""
    body = json.dumps({**asking("hello", stream=stream, model="claude-house"), "field_of_tomorrow": 1.50}, indent=1)
    with member.caller.http() as client:
        response = client.post("/v1/messages", content=body, headers=member.caller.headers())
    assert response.status_code == 200
    [seen] = first.seen
    sent = json.loads(seen.body)
    assert sent.pop("model") == "first-model"
    assert {**sent, "model": "claude-house"} == json.loads(body)
    assert seen.headers["x-api-key"] == "first-secret"
    told = streamed("Hello.", model="claude-house")
    if stream:
        assert response.content == b"".join(told)
    else:
        assert response.json() == json.loads(whole("Hello.", model="claude-house"))


@STREAMS
def test_a_name_that_is_not_on_offer_is_refused_to_those_with_a_key(
    stream: bool, member: Member, first: CannedUpstream
) -> None:
    refused = ask(member, "hello", stream=stream, model="claude-nobody")
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "claude-nobody is not offered" in refused.error["message"]
    body = asking("hello", model="claude-nobody", stream=stream)
    stranger = member.caller.request("POST", "/v1/messages", json=body, headers={"x-api-key": "wrong"})
    assert stranger.status_code == 401
    assert first.seen == []


def test_model_discovery_gets_what_claude_code_lists(member: Member) -> None:
    """`?limit=1000`, with the user agent it has there. Only ids that name the vendor are listed by it, so every
    other name is there under a prefix too, and that name works."""
    page = member.caller.request("GET", "/v1/models?limit=1000", headers=DISCOVERY)
    assert page.status_code == 200
    told = page.json()
    ids = [model["id"] for model in told["data"]]
    assert ids[:3] == ["claude-house", "claude-alone", "claude-chat"]
    assert "claude-via-qwen-house" in ids or "qwen-house" in ids
    assert (told["has_more"], told["first_id"], told["last_id"]) == (False, ids[0], ids[-1])
    assert told["data"][0]["display_name"] == "House"
    assert {model["type"] for model in told["data"]} == {"model"}
    assert ask(member, "hello", model="claude-via-qwen-house").texts == ["The spare says hello."]


# -- a spare upstream of another language


@STREAMS
@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "turn"])
def test_a_spare_upstream_answers_for_one_that_is_overloaded(
    tools: tuple[Json, ...], stream: bool, gateway: Gateway, first: CannedUpstream
) -> None:
    member = join_limited(gateway)
    overloaded(first)
    answer = ask(member, "hello", *tools, stream=stream)
    assert (answer.status, answer.texts) == (200, ["The spare says hello."])
    assert answer.message["model"] == "claude-house"
    assert answer.message["stop_reason"] == "end_turn"
    assert len(first.seen) == 1
    result = gateway.event("model.result", member.subject)
    assert (result["upstream"], result["model"], result["error"]) == ("spare", "spare-model", None)
    assert (result["input_tokens"], result["output_tokens"]) == (40, 8)
    # Priced and counted by who answered: 40 tokens at 10 and 8 at 100 dollars a million.
    [row] = usage_of(member, "model", requests=1, output_tokens=8)
    assert (row["model"], row["cost_usd"]) == ("spare-model", 0.0012)


@pytest.mark.parametrize(
    "tools",
    [
        pytest.param(
            (),
            id="forwarded",
        ),
        pytest.param((BASH,), id="turn"),
    ],
)
def test_every_try_at_every_upstream_is_counted_in_the_audit_log(
    tools: tuple[Json, ...], gateway: Gateway, first: CannedUpstream
) -> None:
    member = join(gateway)
    overloaded(first)
    ask(member, "hello", *tools)
    assert gateway.event("model.result", member.subject)["attempts"] == 2


@STREAMS
@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"<html>"), (502, b""), (503, b"{}"), (401, b"{}"), (429, b"{}"), (404, b"{}"), (200, OVERLOADED)],
)
def test_the_spare_answers_whatever_keeps_the_first_from_it(
    status: int, body: bytes, stream: bool, member: Member, first: CannedUpstream
) -> None:
    overloaded(first, status, body)
    assert ask(member, "hello", stream=stream).texts == ["The spare says hello."]


@STREAMS
def test_a_request_that_is_wrong_is_not_tried_elsewhere(
    stream: bool, member: Member, first: CannedUpstream, spare: FakeUpstream
) -> None:
    asked = len(spare.lines("request"))
    overloaded(first, 400, REFUSED)
    refused = ask(member, "hello", stream=stream)
    assert (refused.status, refused.error["message"]) == (400, "max_tokens: too large")
    assert len(spare.lines("request")) == asked


@STREAMS
def test_tool_calls_of_the_spare_reach_the_application(stream: bool, member: Member, first: CannedUpstream) -> None:
    overloaded(first)
    answer = ask(member, "weather", WEATHER, stream=stream)
    assert [block["type"] for block in answer.blocks] == ["text", "tool_use"]
    assert (answer.blocks[1]["name"], answer.blocks[1]["input"]) == ("get_weather", {"city": "Zürich"})
    assert answer.message["stop_reason"] == "tool_use"


@STREAMS
def test_a_turn_with_sandboxed_calls_goes_on_at_the_spare(stream: bool, member: Member, first: CannedUpstream) -> None:
    overloaded(first)
    answer = ask(member, "shell", BASH, stream=stream)
    assert answer.results == ["ran"]
    assert answer.texts == ["It said ran."]


@STREAMS
def test_without_a_spare_the_first_failure_is_told(stream: bool, member: Member, first: CannedUpstream) -> None:
    overloaded(first)
    refused = ask(member, "hello", stream=stream, model="claude-alone")
    assert (refused.status, refused.error["type"]) == (529, "overloaded_error")


def test_nothing_is_tried_elsewhere_once_the_answer_has_begun(
    member: Member, gateway: Gateway, first: CannedUpstream
) -> None:
    broken = event("error", OVERLOADED.decode())
    first.answers = {"": Canned([*streamed("Hello.", model="first-model")[:3], broken])}
    answer = ask(member, "hello", stream=True)
    assert (answer.events[-1][0], answer.error["type"]) == ("error", "overloaded_error")
    assert gateway.event("model.result", member.subject)["upstream"] == "first"


def test_a_client_that_leaves_while_the_first_is_slow_does_not_reach_the_spare(
    gateway: Gateway, first: CannedUpstream, spare: FakeUpstream
) -> None:
    member = join(gateway, session=None)
    asked = len(spare.lines("request"))
    first.answers = {"": Canned([OVERLOADED], 529, JSON, head=threading.Event())}
    with raw_post(member.caller, asking("hello", model="claude-house", stream=True)):
        until(lambda: first.seen, "the request upstream")
    until(lambda: first.seen[-1].left.is_set(), "the upstream's connection to be closed")
    gateway.event("model.result", member.subject, error="the client left")
    assert len(spare.lines("request")) == asked


# -- one that speaks another language at all times


@STREAMS
@pytest.mark.parametrize("tools", [(), (WEATHER,)], ids=["no tools", "the client's tools"])
def test_a_chat_server_is_told_as_the_messages_api(
    tools: tuple[Any, ...], stream: bool, member: Member, gateway: Gateway
) -> None:
    answer = ask(member, "hello", *tools, stream=stream, model="claude-chat")
    assert (answer.status, answer.texts) == (200, ["The spare says hello."])
    assert answer.message["model"] == "claude-chat"
    assert answer.message["usage"]["output_tokens"] == 8
    assert gateway.event("model.result", member.subject)["upstream"] == "spare"
