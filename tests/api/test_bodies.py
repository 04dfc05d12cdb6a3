"""Request bodies: bounded, checked in the API's words, and sent on untouched where nothing had to change."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.messages_api import ASK, BASH, asking
from tests.support.places import Member
from tests.support.scenes import fails, says, scene
from tests.support.scripted import ScriptedUpstream

Json = dict[str, Any]

UNKNOWN = r'"novelty": {"b": 1.0, "a": 1e400, "text": "\u00e9\ud83d\ude00é", "n": 12345678901234567890}'
CONTENT = r'[{"type": "text", "text": "as it was written", "sparkle": [null, 0.10, "\/"]}]'

SCENES = [
    scene("as it was written", says("sent", expect={"body_includes": [UNKNOWN.partition(": ")[2], CONTENT]})),
    scene("send me on", says("sent")),
    scene("which model", fails(status=404, message="model: claude-test")),
]
MIB = 1024 * 1024


def refused(member: Member, content: bytes | str, path: str = "/v1/messages") -> tuple[int, str, str]:
    answer = member.caller.request("POST", path, content=content)
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["message"]


def in_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield b" " * MIB


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_body_over_the_limit_is_refused_by_its_stated_length(path: str, member: Member) -> None:
    connection = http.client.HTTPConnection(member.caller.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        headers = member.caller.headers(content_length=str(33 * MIB))
        # The body never comes: the answer does, on the stated length alone.
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["type"]) == (413, "request_too_large")
    assert str(32 * MIB) in error["message"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_nobody_unknown_is_given_room_for_a_body(path: str, member: Member) -> None:
    """The answer comes on the headers alone: the body is never sent."""
    connection = http.client.HTTPConnection(member.caller.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, headers={"x-api-key": "bh_unknown", "content-length": str(MIB)})
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["type"]) == (401, "authentication_error")


def test_a_body_over_the_limit_is_refused_when_it_states_no_length(member: Member) -> None:
    answer = member.caller.request("POST", "/v1/messages", content=in_pieces(33 * MIB))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")


def test_a_large_body_within_the_limit_is_taken(member: Member, upstream: ScriptedUpstream) -> None:
    answer = member.caller.ask(asking("send me on", system="x" * (8 * MIB)))
    assert answer.texts == ["sent"]
    assert len(upstream.asked("send me on")[-1]["system"]) == 8 * MIB


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"not json",
        b'{"model": "m",}',
        b'{"model": "m"} trailing',
        b'{"model": "\xff"}',
        b"[]",
        b"null",
        b'"text"',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"model": "m", "max_tokens": 1, "messages": ' + b"[" * 100_000,
        b'{"model": "m", "metadata": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes, path: str, member: Member) -> None:
    status, kind, message = refused(member, content, path)
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("The request body ")


def good() -> Json:
    """With a tool of the gateway's: what is only forwarded is the upstream's to judge."""
    message = {"role": "user", "content": "send me on"}
    return {"model": "m", "max_tokens": 9, "messages": [message], "tools": [BASH]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": None}, "model: Input should be a valid string"),
        ({"model": ""}, "model: String should have at least 1 character"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": ["hi"]}, "messages.0: "),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content: "),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 'messages: first message must use the "user" role'),
        ({"system": 7}, "system: Input should be a valid list"),
        ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"tools": {}}, "tools: Input should be a valid list"),
        ({"tools": [7]}, "tools.0: "),
        ({"tools": [BASH, BASH]}, "tools: Tool names must be unique."),
        ({"tool_choice": "any"}, "tool_choice: Input should be a valid dictionary"),
        ({"metadata": []}, "metadata: Input should be a valid dictionary"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id: Input should be a valid string"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_field_of_the_wrong_kind_is_refused_by_name(change: Json, told: str, member: Member) -> None:
    status, kind, message = refused(member, json.dumps({**good(), **change}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(told)


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_a_missing_field_is_refused_by_name(name: str, member: Member) -> None:
    body = good()
    del body[name]
    assert refused(member, json.dumps(body)) == (400, "invalid_request_error", f"{name}: Field required")


def test_a_result_without_its_call_is_refused_before_the_upstream_is_asked(
    member: Member, upstream: ScriptedUpstream
) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "made up"}
    before = len(upstream.lines("request"))
    answer = member.caller.ask(asking([{"role": "user", "content": [result]}], BASH))
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert "toolu_01" in answer.error["message"]
    assert len(upstream.lines("request")) == before


@pytest.mark.parametrize(("tool", "added"), [("AskUserQuestion", {}), ("Bash", {"stream": True})])
def test_what_the_gateway_does_not_know_reaches_the_upstream_as_it_was_written(
    tool: str, added: dict[str, bool], member: Member, upstream: ScriptedUpstream
) -> None:
    """The raw text of numbers, escapes and unknown fields survives, in the client's order."""
    body = (
        f'{{{UNKNOWN}, "model": "m", "max_tokens": 9, "context_management": {{"edits": []}}, '
        f'"messages": [{{"role": "user", "content": {CONTENT}, "mood": 1.50}}], '
        f'"tools": [{{"name": "{tool}", "input_schema": {{"type": "object"}}, "eager_input_streaming": true}}]}}'
    )
    answer = member.caller.request("POST", "/v1/messages", content=body.encode())
    assert answer.status_code == 200, answer.text
    sent, got = json.loads(body), upstream.asked("as it was written")[-1]
    assert got == {**sent, **added}
    assert [*got] == [*sent, *added]


def test_a_model_that_the_upstream_does_not_know_is_told_to_the_client(member: Member) -> None:
    answer = member.caller.ask(asking("which model", ASK))
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")
    assert answer.error["message"] == "model: claude-test"
