"""The strict reader of chat requests finds each fault, and nothing in a request without one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.upstreams.chat_rules import RULES
from tests.upstreams.strict_chat import complaints

Json = dict[str, Any]

PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
FAR = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def tool(name: str) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def call(identity: str, name: str = "Bash", arguments: str = "{}") -> Json:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: str, content: object = "done") -> Json:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def good(dialect: str) -> Json:
    """A conversation with two calls at once, as every server but some of Databricks' takes it."""
    body: Json = {
        "model": "claude-one",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "go"}, PIXEL]},
            {"role": "assistant", "content": None, "tool_calls": [call("call00001"), call("call00002")]},
            result("call00002"),
            result("call00001"),
        ],
        "tools": [tool("Bash")],
        "stream": True,
    }
    if not RULES[dialect].model:
        del body["model"]
    return body


@pytest.mark.parametrize("dialect", sorted(RULES))
def test_a_request_without_a_fault_has_no_complaint(dialect: str) -> None:
    assert complaints(good(dialect), dialect) == []


def after(*messages: Json, **fields: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": "go"}, *messages], **fields}


ASKED = {"role": "assistant", "content": "", "tool_calls": [call("call00001")]}
MORE = {"role": "user", "content": "more"}

FAULTS = [
    ("openai", after(max_tokens=5), "max_tokens"),
    ("openai", after(top_k=5), "top_k"),
    ("openai", after(stop=["a"] * 5), "stop"),
    ("openai", after(tools=[]), "tools"),
    ("openai", after(tool_choice="auto"), "tool_choice"),
    ("openai", after(parallel_tool_calls=False), "parallel_tool_calls"),
    ("openai", after(stream_options={"include_usage": True}), "stream_options"),
    ("openai", after(reasoning_effort="max"), "reasoning_effort"),
    ("openai", after(tools=[tool("x" * 65)]), "tools.0.function.name"),
    ("openai", after(tools=[tool("mcp.dot")]), "tools.0.function.name"),
    ("openai", after(tools=[tool("a"), tool("a")]), "tools"),
    ("openai", after(tools=[{"name": "a", "input_schema": {}}]), "tools.0"),
    ("openai", after(tools=[{**tool("a"), "cache_control": {}}]), "tools.0"),
    ("openai", after(tools=[tool("a")], tool_choice={"type": "tool", "name": "a"}), "tool_choice"),
    ("openai", after(tools=[tool("a")], tool_choice={"type": "function", "function": {"name": "b"}}), "tool_choice"),
    ("openai", after({**ASKED, "tool_calls": [call("x" * 41)]}, result("x" * 41)), "messages.1.tool_calls.0.id"),
    ("openai", after({"role": "assistant", "content": None}, MORE), "messages.1.content"),
    ("openai", after({"role": "assistant", "content": "x", "tool_calls": []}, MORE), "messages.1.tool_calls"),
    ("openai", after({"role": "assistant", "content": "x", "thinking": "y"}, MORE), "messages.1.thinking"),
    ("openai", after(ASKED), "messages"),
    ("openai", after(ASKED, MORE), "messages.2"),
    ("openai", after(ASKED, MORE, result("call00001")), "messages.2"),
    ("openai", after(result("call00001")), "messages.1"),
    ("openai", after(ASKED, result("other")), "messages.2.tool_call_id"),
    ("openai", after(ASKED, result("call00001"), result("call00001")), "messages.3.tool_call_id"),
    ("openai", after(ASKED, result("call00001", None)), "messages.2.content"),
    ("openai", after(ASKED, result("call00001", [PIXEL])), "messages.2.content.0.type"),
    ("openai", after(ASKED, result("call00001", '{"type": "base64"}')), "messages.2.content"),
    ("openai", after({**ASKED, "tool_calls": [call("a", arguments="{")]}, result("a")), "messages.1.tool_calls.0"),
    ("openai", after({"role": "user", "content": [{"type": "image", "source": {}}]}), "messages.1.content.0.type"),
    ("openai", after({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}), "messages.1"),
    ("openai", after({"role": "user", "content": []}), "messages.1.content"),
    ("openai", after({"role": "assistant", "content": "prefilled"}), "messages"),
    ("openai", {"model": "m", "messages": []}, "messages"),
    ("openai", {"messages": [MORE]}, "model"),
    ("databricks-chat", after(max_completion_tokens=5), "max_completion_tokens"),
    ("databricks-chat", after(reasoning_effort="low"), "reasoning_effort"),
    ("databricks-chat", after({"role": "user", "content": "  "}), "messages.1.content"),
    ("databricks-chat", after({"role": "user", "content": [{"type": "text", "text": ""}]}), "messages.1.content.0"),
    ("databricks-chat", after({"role": "user", "content": "x", "name": "y"}), "messages.1.name"),
    ("databricks-chat", after({"role": "user", "content": [FAR]}), "messages.1.content.0.image_url"),
    ("databricks-chat", after(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}), "max_tokens"),
    ("databricks-chat", after({"role": "system", "content": "x"}), "messages.1"),
    ("databricks-chat", {**good("databricks-chat"), "model": "llama"}, "messages.2.tool_calls"),
    ("databricks-invocations", after(), "model"),
    ("vllm", after({"role": "system", "content": "x"}), "messages.1"),
    ("vllm", {"model": "m", "messages": [{"role": "system", "content": "a"}] * 2 + [MORE]}, "messages.1"),
    ("ollama", after({"role": "user", "content": [FAR]}), "messages.1.content.0.image_url"),
    ("mistral", after(ASKED, result("call00001"), MORE), "messages.3"),
    (
        "mistral",
        after({**ASKED, "tool_calls": [call("call_00001")]}, result("call_00001")),
        "messages.1.tool_calls.0.id",
    ),
    ("mistral", after({"role": "assistant", "content": "x", "reasoning_content": "y"}, MORE), "messages.1"),
    ("mistral", after(max_completion_tokens=5), "max_completion_tokens"),
    ("llamacpp", after({"role": "user", "content": "x", "gateway": {}}), "messages.1.gateway"),
    ("llamacpp", after({"role": "user", "content": "x-anthropic-billing-header: cc"}), "messages.1.content"),
    ("openrouter", after({"role": "assistant", "content": "x", "signature": "bh1.abc"}, MORE), "messages.1.signature"),
]


@pytest.mark.parametrize(("dialect", "body", "path"), FAULTS, ids=[f"{one}: {path}" for one, _, path in FAULTS])
def test_each_fault_is_named_by_its_path(dialect: str, body: Json, path: str) -> None:
    before = copy.deepcopy(body)
    found = complaints(body, dialect)
    assert [text for text in found if text.startswith(path)], found
    assert body == before
