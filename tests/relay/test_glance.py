"""The glance: what may be forwarded as it is, and every sign that it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.messages import foreign_signature
from gateway.relay.glance import glance_at, needs_no_hand

Json = dict[str, Any]

BASH = {"name": "Bash", "input_schema": {"type": "object"}}
OWN = {"name": "look_up", "input_schema": {"type": "object"}}
PLAIN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}]


def forwarded(claude_code: bool = False, sandboxed: bool = True, **fields: Any) -> bool:
    body = json.dumps({"model": "claude-x", "max_tokens": 9, "messages": PLAIN, **fields}).encode()
    glance = glance_at(body)
    return glance is not None and needs_no_hand(
        glance, sandboxed=sandboxed, claude_code=claude_code, client_tools=("mcp__*",)
    )


def said(*blocks: Json) -> list[Json]:
    return [*PLAIN, {"role": "assistant", "content": list(blocks)}]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": []},
        {"tools": [OWN]},
        {"tools": [{**OWN, "type": "custom"}]},
        {"tools": [{**BASH, "name": "mcp__files__read"}]},
        {"novelty": {"gateway": 1}, "metadata": {"user_id": "me"}},
        {"system": [{"type": "text", "text": '"server_tool_use" and "gateway" are only words here'}]},
        {"messages": [{"role": "user", "content": 'say "server_tool_use"'}]},
        {"messages": said({"type": "thinking", "thinking": "hm", "signature": "RXF1"})},
        {"messages": said({"type": "tool_use", "id": "t", "name": "look_up", "input": {"gateway": "x"}})},
        {"messages": [*PLAIN, {"role": "system", "output_config": {"effort": "low"}}]},
    ],
)
def test_what_needs_nothing_of_the_gateway_is_forwarded(fields: Json) -> None:
    assert forwarded(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [BASH]},
        {"tools": [OWN, {**OWN, "name": "WebFetch"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"thread": {"type": "create"}},
        {"model": ""},
        {"tools": [OWN], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
        {"messages": said({"type": "server_tool_use", "id": "s", "name": "Bash", "input": {}})},
        {"messages": said({"type": "text", "text": "shown", "gateway": {"display_only": True}})},
        {
            "messages": said(
                {"type": "thinking", "thinking": "hm", "signature": foreign_signature.make("elsewhere", "m", {})}
            )
        },
        {"messages": said({"text": "a block without a type"})},
    ],
)
def test_what_the_gateway_may_have_a_hand_in_is_not_forwarded(fields: Json) -> None:
    assert not forwarded(**fields)


def test_a_tool_nobody_knows_is_the_applications_own_but_not_claude_codes() -> None:
    assert forwarded(tools=[OWN])
    assert not forwarded(tools=[OWN], claude_code=True)


def test_a_gateway_that_runs_no_tools_forwards_them() -> None:
    assert forwarded(tools=[BASH], sandboxed=False)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"model": 7, "messages": []}', b'{"model": "m"}', b"\xff"])
def test_what_is_no_request_is_left_to_the_parser(body: bytes) -> None:
    assert glance_at(body) is None


def test_a_body_that_may_name_a_session_says_so() -> None:
    def names(**fields: Any) -> bool:
        glance = glance_at(json.dumps({"model": "m", "messages": [], **fields}).encode())
        assert glance is not None
        return glance.may_name_a_session

    assert names(container="c") and names(metadata={"user_id": '{"session_id": "s"}'})
    assert not names() and not names(metadata={"user_id": "alice"}) and not names(metadata={})
