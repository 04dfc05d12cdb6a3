"""What a strict chat server refuses, as one check: roles, pairing of calls, names, contents."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["check_body"]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_body(body: Mapping[str, Any], *, tool_id: str = r"[\x21-\x7e]{1,40}", after_tools: bool = False) -> None:
    """Raises `AssertionError` for a body that the strictest of the servers would answer with 400."""
    json.dumps(body)
    messages = body["messages"]
    assert messages, "no messages"
    assert not any(value is None for value in body.values()), "a null field"
    _check_order(messages, tool_id, after_tools=after_tools)
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    assert len(names) == len(set(names)), "two tools of one name"
    for tool in body.get("tools", []):
        function = tool["function"]
        assert tool.keys() == {"type", "function"}
        assert tool["type"] == "function"
        assert _NAME.fullmatch(function["name"])
        assert function["parameters"]["type"] == "object" or function["parameters"].get("type")
    assert "tools" not in body or body["tools"], "an empty tools list"
    if "tool_choice" in body:
        assert body.get("tools"), "tool_choice without tools"
        chosen = body["tool_choice"]
        assert chosen in ("auto", "none", "required") or chosen["function"]["name"] in names
    if "parallel_tool_calls" in body:
        assert body.get("tools"), "parallel_tool_calls without tools"
    assert len(body.get("stop", [])) <= 16


def _check_order(messages: Sequence[Mapping[str, Any]], tool_id: str, *, after_tools: bool) -> None:
    waiting: list[str] = []
    before = ""
    for at, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            assert message["tool_call_id"] in waiting, f"{at}: an answer nobody asked for"
            waiting.remove(message["tool_call_id"])
            assert before in ("assistant", "tool"), f"{at}: tool after {before}"
            assert isinstance(message["content"], str | list), f"{at}: content of a tool message"
        else:
            assert not waiting, f"{at}: {role} before the answers to {waiting}"
        if role == "system":
            assert message["content"]
        if role == "user":
            assert message["content"], f"{at}: an empty user message"
            assert before != "user", f"{at}: two user messages in a row"
            assert not (after_tools and before == "tool"), f"{at}: user after tool"
        if role == "assistant":
            assert before in ("user", "tool", "system"), f"{at}: assistant after {before or 'nothing'}"
            assert message.get("content") or message.get("tool_calls"), f"{at}: an assistant that says nothing"
            waiting = _check_calls(message.get("tool_calls"), tool_id, at)
        else:
            assert "tool_calls" not in message
        _check_parts(message["content"], at)
        before = role
    assert not waiting, f"unanswered: {waiting}"
    first = next(message["role"] for message in messages if message["role"] != "system")
    assert first == "user", f"the conversation begins with {first}"


def _check_calls(calls: Any, tool_id: str, at: int) -> list[str]:
    assert calls is None or calls, f"{at}: an empty list of calls"
    ids = []
    for call in calls or []:
        assert call["type"] == "function"
        assert re.fullmatch(tool_id, call["id"]), f"{at}: id {call['id']!r}"
        assert _NAME.fullmatch(call["function"]["name"]), f"{at}: name {call['function']['name']!r}"
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
        ids.append(call["id"])
    assert len(ids) == len(set(ids)), f"{at}: two calls of one id"
    return ids


def _check_parts(content: Any, at: int) -> None:
    if not isinstance(content, list):
        return
    for part in content:
        assert part["type"] in ("text", "image_url", "file", "reasoning"), f"{at}: part {part['type']}"
        if part["type"] == "text":
            assert part["text"].strip(), f"{at}: a blank text part"
