"""Adapting any request to any upstream: what never comes out, what always holds."""

import json
from typing import Any

import pytest
from adapt_support import BETAS, FIELDS, MODELS, Json, again, body_of, request, turns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.messages.errors import ApiError
from gateway.messages.pairing import check_pairing
from gateway.providers.adapt import ANTHROPIC, AZURE, AZURE_HOSTED, CHAT, DATABRICKS, Capabilities, adapt, untouched
from gateway.providers.adapt.features import FEATURES, tool_owner

KINDS = {
    "anthropic": ANTHROPIC,
    "azure": AZURE,
    "azure-hosted": AZURE_HOSTED,
    "databricks": DATABRICKS,
    "chat": CHAT,
}
each_kind = pytest.mark.parametrize("capabilities", KINDS.values(), ids=KINDS)
modest = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def flat(drawn: list[list[Json]]) -> list[Json]:
    return [message for turn in drawn for message in turn]


@each_kind
@modest
@given(turns(), FIELDS, BETAS, MODELS)
def test_what_an_upstream_lacks_never_reaches_it(
    capabilities: Capabilities, drawn: list[list[Json]], fields: Json, betas: str, model: str
) -> None:
    sent = request(flat(drawn), headers={"anthropic-beta": betas}, model=model, **fields)
    adapted = adapt(sent, capabilities, upstream="vllm")
    found = lacking(body_of(adapted), capabilities)
    assert not found
    assert all(
        capabilities.takes_beta(value) for value in adapted.headers.get("anthropic-beta", "").split(",") if value
    )
    check_pairing(adapted.request.messages)


def lacking(body: Json, capabilities: Capabilities) -> list[Any]:
    """What is in the body although the upstream lacks it."""
    blocks = [block for message in body["messages"] for block in all_blocks(message["content"])]
    found: list[Any] = []
    for name, feature in FEATURES.items():
        if capabilities.has(name):
            continue
        found += [field for field in feature.fields if inside(body, field)]
        found += [block["type"] for block in blocks if block["type"] in feature.blocks]
        found += [block["name"] for block in blocks if block.get("name") in feature.calls]
        tools = body.get("tools", [])
        found += [entry["type"] for entry in tools if tool_owner(entry.get("type", "custom")) == name]
        found += [field for entry in tools for field in feature.tool_fields if field in entry]
        found += [field for block in blocks for field in feature.call_fields if field in block]
    marks = [part["cache_control"] for part in [*blocks, *parts(body)] if "cache_control" in part]
    found += [field for mark in marks for field in ("scope", "ttl") if field in mark and lacks(capabilities, field)]
    if not capabilities.has("system_messages"):
        found += [message["role"] for message in body["messages"] if message["role"] == "system"]
    if not capabilities.has("deferred_tools"):
        found += [block["type"] for block in blocks if block["type"] in ("tool_reference", "tool_addition")]
    if not capabilities.open:
        found += [name for name in body if name == "hologram"]
    signatures = [block.get("signature") for block in blocks if block["type"] == "thinking"]
    if not capabilities.own_reasoning_only:
        found += [text for text in signatures if str(text).startswith("bh1.")]
    else:
        found += [text for text in signatures if not str(text).startswith("bh1.")]
    rule = capabilities.thinking_rule(body["model"])
    asked = body.get("thinking", {}).get("type")
    found += [asked] if rule is not None and asked is not None and asked not in rule.types else []
    return found


def lacks(capabilities: Capabilities, field: str) -> bool:
    return not capabilities.has(f"cache_{field}")


def parts(body: Json) -> list[Json]:
    top = body["system"] if isinstance(body.get("system"), list) else []
    return [*top, *body.get("tools", []), body]


def all_blocks(content: Any) -> list[Json]:
    if not isinstance(content, list):
        return []
    return [inner for block in content for inner in (block, *all_blocks(block.get("content")))]


def inside(body: Json, field: str) -> bool:
    outer, _, inner = field.partition(".")
    return outer in body and (not inner or (isinstance(body[outer], dict) and inner in body[outer]))


@each_kind
@modest
@given(turns(), FIELDS, BETAS, MODELS)
def test_adapting_twice_is_adapting_once(
    capabilities: Capabilities, drawn: list[list[Json]], fields: Json, betas: str, model: str
) -> None:
    sent = request(flat(drawn), headers={"anthropic-beta": betas}, model=model, **fields)
    once = adapt(sent, capabilities, upstream="vllm")
    twice = adapt(again(once), capabilities, upstream="vllm")
    assert (twice.body, twice.headers) == (once.body, once.headers)


@each_kind
@modest
@given(turns(most=5), st.integers(1, 4), FIELDS)
def test_a_conversation_that_goes_on_keeps_its_prefix(
    capabilities: Capabilities, drawn: list[list[Json]], cut: int, fields: Json
) -> None:
    earlier = body_of(adapt(request(flat(drawn[:cut]), **fields), capabilities, upstream="vllm"))
    later = body_of(adapt(request(flat(drawn), **fields), capabilities, upstream="vllm"))
    assert later["messages"][: len(earlier["messages"])] == earlier["messages"]


@each_kind
@modest
@given(turns(), FIELDS, BETAS)
def test_untouched_promises_that_nothing_would_change(
    capabilities: Capabilities, drawn: list[list[Json]], fields: Json, betas: str
) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": betas}
    sent = request(flat(drawn), headers=headers, **fields)
    if untouched(sent.body, capabilities, headers):
        adapted = adapt(sent, capabilities, upstream="vllm")
        assert adapted.body == sent.body
        assert {"anthropic-beta": "", **adapted.headers} == headers


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 200_000) | st.sampled_from(["", "auto", "tool", "text", "enabled"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "id", "content", "source", "keep", "edits", "value", "tool", "tool_name", "effort"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
KIND = st.sampled_from(
    [
        "text",
        "tool_use",
        "tool_result",
        "thinking",
        "image",
        "server_tool_use",
        "web_search_tool_result",
        "tool_search_tool_result",
        "tool_addition",
        "tool_removal",
        "compaction",
        "mcp_tool_result",
        "container_upload",
        "x",
    ]
)
FIELD_NAMES = st.sampled_from(
    [
        "text",
        "content",
        "source",
        "signature",
        "id",
        "tool_use_id",
        "name",
        "tool",
        "citations",
        "cache_control",
        "input",
        "caller",
    ]
)
WILD_BLOCK = st.builds(
    lambda kind, fields: {**fields, "type": kind}, KIND, st.dictionaries(FIELD_NAMES, JUNK, max_size=5)
)
WILD_MESSAGE = st.builds(
    lambda role, content, extra: {**extra, "role": role, "content": content},
    st.sampled_from(["user", "assistant", "system"]),
    st.lists(WILD_BLOCK, max_size=3) | st.sampled_from(["", " ", "hi"]),
    st.dictionaries(st.sampled_from(["clear_at", "output_config"]), JUNK, max_size=2),
)
WILD_TOOL = st.builds(
    lambda name, kind, fields: {**fields, "name": name, "type": kind},
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["custom", "bash_20250124", "web_search_20250305", "mystery_1"]),
    st.dictionaries(st.sampled_from(["defer_loading", "cache_control", "input_schema", "strict"]), JUNK, max_size=3),
)
WILD_EDIT = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(["clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112"]),
    st.dictionaries(
        st.sampled_from(["trigger", "keep", "exclude_tools", "clear_tool_inputs", "clear_at_least"]), JUNK, max_size=3
    ),
)
WILD_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.lists(WILD_TOOL, max_size=3, unique_by=lambda entry: str(dict(entry)["name"])),
        "tool_choice": st.dictionaries(st.sampled_from(["type", "name"]), JUNK, max_size=2),
        "thinking": JUNK,
        "output_config": JUNK,
        "context_management": st.fixed_dictionaries({"edits": st.lists(WILD_EDIT | JUNK, max_size=2)}) | JUNK,
        "cache_control": JUNK,
        "mcp_servers": JUNK,
        "hologram": JUNK,
    },
)


@each_kind
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WILD_MESSAGE, max_size=5), WILD_FIELDS, MODELS)
def test_nonsense_is_adapted_or_refused_but_never_breaks_anything(
    capabilities: Capabilities, messages: list[Json], fields: Json, model: str
) -> None:
    sent = request([{"role": "user", "content": "hi"}, *messages], model=model, **fields)
    try:
        adapted = adapt(sent, capabilities, upstream="vllm")
    except ApiError as refusal:
        assert refusal.status == 400
    else:
        json.loads(adapted.body)
