"""A request that the gateway has nothing to do for passes as it is, and so does its answer."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.support.canned_upstream import Canned, CannedUpstream, event, streamed, whole
from tests.support.forwarding import canned, gateway, member, plain_answers, post
from tests.support.gateway import Gateway
from tests.support.messages_api import ASK, BASH, READ, answer_of, asking
from tests.support.places import Member
from tests.support.processes import until

__all__ = ["canned", "gateway", "member", "plain_answers"]

Json = dict[str, Any]

IDENTITY = {
    "request-id": "req_of_the_upstream",
    "x-request-id": "their-id",
    "anthropic-organization-id": "org-of-the-operator",
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-tokens-remaining": "49000",
    "anthropic-ratelimit-unified-status": "allowed",
    "anthropic-priority-input-tokens-limit": "1",
    "cf-ray": "ray-1",
    "cf-cache-status": "DYNAMIC",
    "via": "1.1 edge",
    "x-envoy-upstream-service-time": "9",
    "x-databricks-org-id": "1234567890",
    "apim-request-id": "apim-1",
    "x-ms-region": "region-1",
    "set-cookie": "session=theirs",
    "strict-transport-security": "max-age=1",
    "alt-svc": "h3",
}
"""What vendors and their front doors say about themselves."""


def was_forwarded(member: Member, gateway: Gateway) -> bool:
    """Whether the newest request of this member that came to an end passed as it was."""
    gateway.event("model.result", member.subject)
    return gateway.events("turn.start", member.subject) == []


# -- what is forwarded

CLIENT_TOOL = {"name": "get_weather", "description": "Tells the weather.", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CLAUDE_CODE = {"user_agent": "claude-cli/2.1.197 (external, cli)"}
SESSION_IN_BODY = json.dumps({"device_id": "d", "session_id": "11111111-2222-3333-4444-555555555555"})
OWN_PAIR = [
    {"role": "user", "content": "hello"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "shown", "gateway": {"display_only": True}},
            {"type": "text", "text": "x"},
        ],
    },
    {"role": "user", "content": "and now?"},
]

AS_IT_IS: dict[str, tuple[Json, dict[str, str]]] = {
    "plain words": ({}, {}),
    "a stream": ({"stream": True}, {}),
    "fields of tomorrow": ({"field_of_tomorrow": {"deep": [1, {"er": None}]}, "speed": "warp"}, {}),
    "thinking and effort": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "max_tokens": 64000},
        {"anthropic_beta": "effort-2025-11-24,beta-of-tomorrow"},
    ),
    "a tool of the application": ({"tools": [CLIENT_TOOL], "tool_choice": {"type": "any"}}, {}),
    "a tool that Claude Code runs": ({"tools": [ASK]}, CLAUDE_CODE),
    "the user's MCP tools": ({"tools": [{**CLIENT_TOOL, "name": "mcp__weather__get"}]}, CLAUDE_CODE),
    "metadata without a session": ({"metadata": {"user_id": "somebody"}}, {}),
    "a session named in a header": (
        {"metadata": {"user_id": SESSION_IN_BODY}},
        {"x_claude_code_session_id": "11111111-2222-3333-4444-555555555555"},
    ),
    "a cached prompt": ({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}, {}),
}

IN_A_TURN: dict[str, tuple[Json, dict[str, str]]] = {
    "a tool that the gateway runs": ({"tools": [BASH]}, {}),
    "such a tool among others": ({"tools": [CLIENT_TOOL, READ]}, {}),
    "a tool that is refused": ({"tools": [{**CLIENT_TOOL, "name": "WebFetch"}]}, CLAUDE_CODE),
    "a tool nobody knows": ({"tools": [CLIENT_TOOL]}, CLAUDE_CODE),
    "a tool whose schema is trimmed": ({"tools": [{**CLIENT_TOOL, "name": "Agent"}]}, CLAUDE_CODE),
    "a tool of the upstream": ({"tools": [SEARCH]}, {}),
    "a session named in the body": ({"metadata": {"user_id": SESSION_IN_BODY}}, {}),
    "a container": ({"container": "container_1"}, {}),
    "marks of the gateway in the history": ({"messages": OWN_PAIR}, {}),
}


@pytest.mark.parametrize("case", AS_IT_IS)
def test_what_needs_nothing_goes_byte_for_byte(
    case: str, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    fields, headers = AS_IT_IS[case]
    body = json.dumps({**asking("hello"), **fields}, indent=1).encode()
    answer = post(member, body, **headers)
    assert (answer.status, answer.texts) == (200, ["Hello."])
    assert was_forwarded(member, gateway)
    [seen] = canned.seen
    assert seen.body == body


@pytest.mark.parametrize("case", IN_A_TURN)
def test_what_the_gateway_has_a_hand_in_becomes_a_turn(
    case: str, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    fields, headers = IN_A_TURN[case]
    answer = post(member, json.dumps({**asking("hello"), **fields}).encode(), **headers)
    assert (answer.status, answer.texts) == (200, ["Hello."])
    assert not was_forwarded(member, gateway)
    assert len(canned.seen) == 1


def test_names_of_fields_cannot_be_hidden_by_their_spelling(member: Member, gateway: Gateway) -> None:
    """An escaped letter, and a field that is given twice: the last counts, as for every other reader."""
    plain = json.dumps(asking("hello")).encode()
    for spelling in (b'{"to\\u006fls": [%s], ', b'{"tools": [], "tools": [%s], '):
        hidden = spelling % json.dumps(BASH).encode() + plain.removeprefix(b"{")
        assert post(member, hidden).status == 200
    until(lambda: len(gateway.events("turn.end", member.subject)) == 2, "two turns")


REFUSED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "body"),
    "no object": (b"[]", "body"),
    "no messages": (b'{"model":"m","max_tokens":9}', "messages"),
    "no model": (b'{"max_tokens":9,"messages":[{"role":"user","content":"hello"}]}', "model"),
    "an empty model": (b'{"model":"","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}', "model"),
}


def test_a_thread_is_refused_so_that_the_sdk_sends_everything(member: Member, canned: CannedUpstream) -> None:
    refused = post(member, json.dumps(asking("hello", thread={"id": "thread_1"})).encode())
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert refused.error["details"]["error_code"] == "thread_unsupported_request"
    assert canned.seen == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_the_gateways_to_refuse_or_the_upstreams(
    case: str, member: Member, canned: CannedUpstream
) -> None:
    """A body without messages may pass: the upstream knows what its own newest requests need."""
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"messages: Field required"}}'
    canned.answer = Canned([refusal], 400, "application/json")
    body, named = REFUSED[case]
    answer = post(member, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    if case != "no messages":
        assert canned.seen == []
    if named != "body":
        assert answer.error["message"].startswith(named)


# -- bytes

NUMBERS = b"""{
  "model" : "claude-test", "max_tokens":1.0e2,   "temperature":0.70,
  "messages":[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00 caf\xc3\xa9"}],
  "big":12345678901234567890123, "small":1e-7, "zero":-0.0, "list":[ ], "stream":false
}"""


def test_a_request_arrives_as_it_was_spelled(member: Member, canned: CannedUpstream) -> None:
    assert post(member, NUMBERS).status == 200
    assert canned.seen[-1].body == NUMBERS


def spelled_stream() -> list[bytes]:
    """Legal in everything, usual in little: spaces, numbers, unknown fields and events, several message_deltas."""
    return [
        event(
            "message_start",
            '{"type":"message_start", "message" : {"id":"msg_1","type":"message","role":"assistant",'
            '"model":"claude-test",'
            '"content":[],"stop_reason":null,"stop_sequence":null,"field_of_tomorrow":1.50,'
            '"usage":{"input_tokens":11,"output_tokens":1,"service_tier":"standard"}},"padding":"................"}',
        ),
        event("ping", '{"type": "ping"}'),
        event(
            "content_block_start", '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
        ),
        event(
            "content_block_delta",
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Gr\\u00fc\\u00dfe"},"p":"abcdef"}',
        ),
        event(
            "content_block_delta",
            '{"index":0,"type":"content_block_delta","delta":{"text":", Welt \U0001f600","type":"text_delta"}}',
        ),
        event("content_block_stop", '{"type":"content_block_stop","index":0 }'),
        event(
            "message_delta",
            '{"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null},"usage":{"output_tokens":3}}',
        ),
        event(
            "message_delta",
            '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null,"stop_details":null},'
            '"usage":{"output_tokens":9,"iterations":[{"type":"message","output_tokens":9}]},'
            '"context_management":{"applied_edits":[]}}',
        ),
        event("message_stop", '{"type":"message_stop" , "amount":1e3}'),
    ]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_stream_arrives_as_it_was_spelled_however_it_is_cut(
    size: int, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    data = b"".join(spelled_stream())
    canned.answers = {"": Canned([data[at : at + size] for at in range(0, len(data), size)])}
    answer = post(member, json.dumps(asking("hello", stream=True)).encode())
    assert answer.body == data
    assert answer.texts == ["Grüße, Welt 😀"]
    assert gateway.event("model.result", member.subject)["output_tokens"] == 9


ODDLY_WRITTEN = {
    "line ends of another kind": lambda data: data.replace(b"\n", b"\r\n"),
    "comments between": lambda data: data.replace(b"\n\n", b"\n\n: still here\n\n"),
    "no space after the colon": lambda data: data.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "no blank line at the end": lambda data: data.rstrip(b"\n"),
    "ids and waiting times": lambda data: data.replace(b"data: ", b"id: 1\nretry: 5\ndata: "),
}


@pytest.mark.parametrize("how", ODDLY_WRITTEN)
def test_a_stream_that_is_oddly_written_arrives_in_the_usual_form(
    how: str, member: Member, canned: CannedUpstream
) -> None:
    data = ODDLY_WRITTEN[how](b"".join(spelled_stream()))
    canned.answers = {"": Canned([data[at : at + 50] for at in range(0, len(data), 50)])}
    answer = post(member, json.dumps(asking("hello", stream=True)).encode())
    expected = answer_of(200, answer.headers, b"".join(spelled_stream()))
    assert [(name, data) for name, data in answer.events if name != "ping"] == [
        (name, data) for name, data in expected.events if name != "ping"
    ]


def test_a_whole_answer_arrives_as_it_was_spelled(member: Member, gateway: Gateway, canned: CannedUpstream) -> None:
    body = (
        b' { "model":"claude-test", "type" : "message","id":"msg_1","role":"assistant","field_of_tomorrow":1.50,'
        b'"content":[{"type":"text","text":"caf\\u00e9","citations":null}],"stop_reason":"end_turn",'
        b'"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":2,"big":123456789012345678901}}'
    )
    canned.answer = Canned([body], content_type="application/json")
    answer = post(member, json.dumps(asking("hello")).encode())
    assert answer.body == body
    assert gateway.event("model.result", member.subject)["output_tokens"] == 2


def test_an_answer_under_another_model_name_is_told_under_the_asked_one(
    member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    """Upstreams answer with the dated name; nothing else changes."""
    dated = "claude-test-20261001"
    canned.answers = {"hello stream": Canned(streamed("Hello.", model=dated))}
    canned.answer = Canned([whole("Hello.", model=dated)], content_type="application/json")
    stream = post(member, json.dumps(asking("hello stream", stream=True)).encode())
    assert stream.body == b"".join(streamed("Hello.")) and stream.message["model"] == "claude-test"
    assert gateway.event("model.result", member.subject)["model"] == dated
    assert json.loads(post(member, json.dumps(asking("hello")).encode()).body) == json.loads(whole("Hello."))


# -- headers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "turn"])
@pytest.mark.parametrize("status", [200, 400, 429, 500, 529])
def test_what_an_upstream_says_about_itself_stays_here(
    status: int, tools: tuple[Json, ...], stream: bool, member: Member, gateway: Gateway, canned: CannedUpstream
) -> None:
    refusal = b'{"type":"error","error":{"type":"api_error","message":"no"},"request_id":"req_of_the_upstream"}'
    if status != 200:
        canned.answers = {"": Canned([refusal], status, "application/json", IDENTITY)}
    else:
        canned.answers = {"hello": Canned(streamed("Hello."), headers=IDENTITY)}
        if not stream and not tools:
            canned.answers = {"hello": Canned([whole("Hello.")], 200, "application/json", IDENTITY)}
    answer = post(member, json.dumps(asking("hello", *tools, stream=stream)).encode())
    assert answer.status == status
    leaked = {name for name, value in IDENTITY.items() if answer.headers.get(name) == value}
    assert leaked == set()
    assert not [name for name in answer.headers if name.startswith(("anthropic-ratelimit", "cf-", "x-ms"))]
    assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["request-id"])
    assert len(answer.headers.get_list("request-id")) == 1
    if status != 200:
        assert answer.message["request_id"] == answer.headers["request-id"]
        assert b"req_of_the_upstream" not in answer.body
    assert gateway.event("model.result", member.subject)["request_id"] == (
        "req_of_the_upstream" if status == 200 else None
    )


def test_of_the_clients_headers_only_version_and_betas_go_upstream(member: Member, canned: CannedUpstream) -> None:
    headers = {
        "anthropic_version": "2023-06-01",
        "anthropic_beta": "one-2025-01-01,two-2025-01-01",
        "authorization": f"Bearer {member.caller.key}",
        "cookie": "theirs=1",
        "x_forwarded_for": "10.1.2.3",
        "x_claude_code_session_id": "s-1",
        "user_agent": "claude-cli/2.1.197",
        "x_stainless_lang": "js",
        "anthropic_dangerous_direct_browser_access": "true",
    }
    assert post(member, json.dumps(asking("hello")).encode(), **headers).status == 200
    sent = canned.seen[-1].headers
    assert sent["x-api-key"] == "upstream-secret"
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2023-06-01", "one-2025-01-01,two-2025-01-01")
    allowed = {"host", "content-length", "content-type", "accept", "accept-encoding", "connection", "user-agent"}
    assert set(sent) - allowed == {"x-api-key", "anthropic-version", "anthropic-beta"}
    assert "claude" not in sent.get("user-agent", "")
    assert member.caller.key not in str(sent)


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
def test_betas_in_several_headers_all_go_upstream(
    tools: tuple[Json, ...], member: Member, canned: CannedUpstream
) -> None:
    betas = [("anthropic-beta", "one-2025-01-01"), ("anthropic-beta", "two-2025-01-01")]
    with member.caller.http() as client:
        headers = [*member.caller.headers().items(), *betas]
        assert client.post("/v1/messages", json=asking("hello", *tools), headers=headers).status_code == 200
    sent = canned.seen[-1].headers["anthropic-beta"]
    assert sent.replace(" ", "") == "one-2025-01-01,two-2025-01-01"


@pytest.mark.parametrize("body", [{}, {"tools": [BASH]}], ids=["forwarded", "turn"])
def test_either_credential_header_will_do_and_both_may_come(body: Json, member: Member, gateway: Gateway) -> None:
    key = member.caller.key
    good = [
        {"x-api-key": key},
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}", "x-api-key": key},
        {"authorization": "Bearer of-somebody-else", "x-api-key": key},
        {"authorization": f"Bearer {key}", "x-api-key": "of-somebody-else"},
        {"authorization": "Basic dTpw", "x-api-key": key},
    ]
    bad: list[dict[str, str]] = [
        {},
        {"x-api-key": "wrong"},
        {"authorization": "Bearer wrong", "x-api-key": "wrong too"},
        {"authorization": f"Basic {key}"},
        {"authorization": "Bearer"},
    ]
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client:

        def ask(headers: dict[str, str]) -> httpx.Response:
            return client.post("/v1/messages", json={**asking("hello"), **body}, headers=headers)

        assert [ask(headers).status_code for headers in good] == [200] * len(good)
        for headers in bad:
            refused = ask(headers)
            assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
            assert refused.headers["x-should-retry"] == "false"
            assert "www-authenticate" not in refused.headers
    assert gateway.event("auth.refused", path="/v1/messages", refusal="missing")
    assert gateway.event("auth.refused", path="/v1/messages", refusal="malformed")


# -- the audit log


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_forwarded_request_is_in_the_audit_log_with_its_end(stream: bool, member: Member, gateway: Gateway) -> None:
    body = json.dumps(asking("hello", stream=stream)).encode()
    headers = {"user_agent": "my-program/1", "x_bulkhead_session": "mine", "x_claude_code_agent_id": "agent-7"}
    answer = post(member, body, **headers)
    result = gateway.event("model.result", member.subject)
    [call] = gateway.events("model.call", member.subject)
    assert result["intent"] == call["seq"]
    assert {name: call[name] for name in ("turn", "client", "client_session", "agent", "model", "bytes", "digest")} == {
        "turn": answer.headers["request-id"],
        "client": "my-program/1",
        "client_session": "mine",
        "agent": "agent-7",
        "model": "claude-test",
        "bytes": len(body),
        "digest": sha256(body).hexdigest(),
    }
    assert {name: result[name] for name in ("model", "upstream", "attempts", "stop_reason", "error")} == {
        "model": "claude-test",
        "upstream": "anthropic",
        "attempts": 1,
        "stop_reason": "end_turn",
        "error": None,
    }
    assert (result["input_tokens"], result["output_tokens"]) == (11, 7)
    assert answer.headers["x-bulkhead-session"] == "mine"


def test_no_word_of_a_conversation_is_in_the_audit_log(member: Member, gateway: Gateway) -> None:
    post(member, json.dumps(asking("a secret word")).encode())
    gateway.event("model.result", member.subject)
    noted = gateway.events("model.call", member.subject) + gateway.events("model.result", member.subject)
    assert "secret" not in json.dumps(noted) and "Hello" not in json.dumps(noted)
