"""Requests for the tests of the adapters: short ways to write them, and conversations drawn by chance."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from gateway.messages import foreign_signature
from gateway.providers.adapt import Adapted, Capabilities, adapt
from gateway.providers.base import UpstreamRequest

UPSTREAM = "vllm"
MODEL = "claude-sonnet-4-6"

Json = dict[str, Any]


def request(
    messages: list[Json] | None = None, /, *, headers: Mapping[str, str] | None = None, model: str = "", **fields: Any
) -> UpstreamRequest:
    """An upstream request; a field given as `...` is left out."""
    body = {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": messages or [user("hi")],
        "stream": True,
        **fields,
    }
    encoded = json.dumps({name: value for name, value in body.items() if value is not ...}).encode()
    return UpstreamRequest(encoded, headers or {}, "req_1", model)


def reduced(
    capabilities: Capabilities, messages: list[Json] | None = None, /, *, upstream: str = UPSTREAM, **fields: Any
) -> Json:
    """The body that `adapt` makes of `request(messages, **fields)`."""
    return body_of(adapt(request(messages, **fields), capabilities, upstream=upstream))


def body_of(adapted: Adapted) -> Json:
    assert json.loads(adapted.body) == json.loads(adapted.request.encode())
    decoded: Json = json.loads(adapted.body)
    return decoded


def again(adapted: Adapted) -> UpstreamRequest:
    """The result as a request of its own."""
    return UpstreamRequest(adapted.body, adapted.headers, "req_1")


def user(*content: Any, **extra: Any) -> Json:
    return {"role": "user", "content": _content(content), **extra}


def assistant(*content: Any) -> Json:
    return {"role": "assistant", "content": _content(content)}


def system(*content: Any, **extra: Any) -> Json:
    return {"role": "system", "content": _content(content), **extra}


def _content(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else [_block(part) for part in parts]


def _block(part: Any) -> Any:
    return text(part) if isinstance(part, str) else part


def text(words: str, **extra: Any) -> Json:
    return {"type": "text", "text": words, **extra}


def call(id: str, name: str = "Bash", **extra: Any) -> Json:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": name, "input": {"command": "ls"}, **extra}


def result(id: str, content: Any = "done", **extra: Any) -> Json:  # noqa: A002
    return {"type": "tool_result", "tool_use_id": id, "content": content, **extra}


def thinking(words: str = "hm", signature: str = "EqQBsig") -> Json:
    return {"type": "thinking", "thinking": words, "signature": signature}


def foreign(upstream: str = UPSTREAM, model: str = MODEL) -> Json:
    return thinking("hm", foreign_signature.make(upstream, model))


def tool(name: str, **extra: Any) -> Json:
    return {"name": name, "description": "a tool", "input_schema": {"type": "object"}, **extra}


def searched(id: str) -> list[Json]:  # noqa: A002
    """A web search and what it found."""
    found = {"type": "web_search_result", "title": "A page", "url": "https://a.example/", "encrypted_content": "Zm9v"}
    return [
        {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "weather"}},
        {"type": "web_search_tool_result", "tool_use_id": id, "content": [found]},
    ]


TOOLS: list[Json] = [
    tool("Bash", cache_control={"type": "ephemeral", "ttl": "1h", "scope": "global"}),
    tool("ToolSearch", allowed_callers=["direct"]),
    tool("Deploy", defer_loading=True),
    tool("Notify", defer_loading=True),
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "mcp_toolset", "mcp_server_name": "m"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
]

_words = st.sampled_from(["go on", "and now?", "  ", "\n\n", "look"])
_marks = st.sampled_from([{}, {"cache_control": {"type": "ephemeral", "ttl": "5m", "scope": "org"}}])
_thoughts = st.sampled_from(
    [
        [],
        [thinking()],
        [thinking("hm", "")],
        [foreign()],
        [foreign("other", "m")],
        [{"type": "redacted_thinking", "data": "x"}],
    ]
)
_entries = st.sampled_from(
    [
        [],
        [system("be brief")],
        [system(output_config={"effort": "low"})],
        [system("use it", output_config={"effort": "max"})],
        [system({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Notify"}}, "there you are")],
        [system({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Bash"}})],
    ]
)
_outcomes = st.sampled_from(
    [
        "done",
        [],
        [text("done", cache_control={"type": "ephemeral", "scope": "org"})],
        [{"type": "tool_reference", "tool_name": "Deploy"}, text("loaded")],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}],
    ]
)
_extras = st.sampled_from(
    [
        [],
        searched("srvtoolu_1"),
        [{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}],
        [{"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "1"}}],
        [{"type": "compaction", "content": None}],
        [{"type": "hologram", "x": 1}],
    ]
)


@st.composite
def turns(draw: st.DrawFn, most: int = 4) -> list[list[Json]]:
    """Whole turns: what the user said, what the model answered, with all results of its calls."""
    drawn = []
    for number in range(draw(st.integers(1, most))):
        messages = [user(text("question", **draw(_marks))), *draw(_entries)]
        for step in range(draw(st.integers(0, 2))):
            ids = [f"toolu_{number}_{step}_{nth}" for nth in range(draw(st.integers(1, 2)))]
            calls = [call(name, caller={"type": "direct"}) for name in ids]
            messages.append(assistant(*draw(_thoughts), draw(_words), *draw(_extras), *calls))
            results = [result(name, draw(_outcomes)) for name in ids]
            messages.append(user(*results, *draw(st.sampled_from([[], ["by the way"]]))))
            messages += draw(_entries)
        messages.append(assistant(*draw(_thoughts), *draw(_extras), draw(_words)))
        drawn.append(messages)
    return drawn


FIELDS = st.fixed_dictionaries(
    {"tools": st.just(TOOLS)},
    optional={
        "system": st.sampled_from(
            [
                "be kind",
                [text("x-anthropic-billing-header: cc_version=1;"), text("you are")],
                [text("you are", cache_control={"type": "ephemeral", "scope": "global"})],
            ]
        ),
        "tool_choice": st.sampled_from(
            [
                {"type": "auto"},
                {"type": "any"},
                {"type": "tool", "name": "web_search", "disable_parallel_tool_use": True},
            ]
        ),
        "thinking": st.sampled_from(
            [
                {"type": "adaptive", "display": "updates"},
                {"type": "enabled", "budget_tokens": 3000},
                {"type": "disabled"},
                {"type": "between_tools"},
            ]
        ),
        "output_config": st.sampled_from(
            [
                {"effort": "high"},
                {"format": {"type": "json_schema"}, "task_budget": {"total": 5}, "sparkle": 1},
                {"effort": "xhigh", "format": {"type": "json_schema"}},
            ]
        ),
        "metadata": st.sampled_from([{"user_id": "u"}, {"user_id": "u", "other": 1}]),
        "cache_control": st.just({"type": "ephemeral", "ttl": "1h"}),
        "context_management": st.sampled_from(
            [{"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, {"edits": [{"type": "compact_20260112"}]}]
        ),
        "mcp_servers": st.just([{"type": "url", "url": "https://m.example", "name": "m"}]),
        "speed": st.just("fast"),
        "inference_geo": st.just("eu"),
        "tags": st.just({"team": "a"}),
        "container": st.just("container_1"),
        "service_tier": st.just("auto"),
        "hologram": st.just({"x": 1}),
        "temperature": st.just(0.5),
    },
)
"""Top-level fields as clients combine them."""

BETAS = st.lists(
    st.sampled_from(
        [
            "claude-code-20250219",
            "context-management-2025-06-27",
            "effort-2025-11-24",
            "interleaved-thinking-2025-05-14",
            "mcp-client-2025-11-20",
            "mid-conversation-system-2026-04-07",
            "prompt-caching-scope-2026-01-05",
            "request-tags-2026-08-21",
            "advanced-tool-use-2025-11-20",
            "fast-mode-2026-02-01",
            "hologram-2027-01-01",
        ]
    ),
    unique=True,
).map(",".join)
MODELS = st.sampled_from(["", "claude-opus-4-5", "databricks-claude-opus-5-5", "qwen3", "claude-3-5-haiku"])
