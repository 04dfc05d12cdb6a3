"""Top-level fields, header values, cache marks and ways to think, by what the upstream knows."""

from dataclasses import replace
from typing import Any

import pytest
from adapt_support import MODEL, Json, assistant, body_of, call, reduced, request, result, text, tool, user

from gateway.providers.adapt import ANTHROPIC, AZURE, AZURE_HOSTED, CHAT, DATABRICKS, Capabilities, adapt
from gateway.providers.adapt.capabilities import claude_version
from gateway.providers.adapt.features import FEATURES

KINDS = {"anthropic": ANTHROPIC, "azure": AZURE, "hosted": AZURE_HOSTED, "databricks": DATABRICKS, "chat": CHAT}


def headers(capabilities: Capabilities, betas: str = "", version: str | None = "2023-06-01") -> dict[str, str]:
    sent = {"anthropic-beta": betas} | ({"anthropic-version": version} if version else {})
    return adapt(request(headers=sent), capabilities, upstream="u").headers


PAIRS = [
    ("context-management-2025-06-27", "context_management", {"edits": []}),
    ("compact-2026-09-04", "compaction", {"type": "summarize"}),
    ("mcp-client-2025-11-20", "mcp_servers", [{"type": "url", "name": "m", "url": "https://m.example"}]),
    ("server-side-fallback-2026-07-01", "fallbacks", "default"),
    ("fallback-credit-2026-06-01", "fallback_credit_token", "t"),
    ("request-tags-2026-08-21", "tags", {"a": "b"}),
    ("fast-mode-2026-02-01", "speed", "fast"),
    ("cache-diagnosis-2026-04-07", "diagnostics", {"previous_message_id": "m"}),
    ("task-budgets-2026-03-13", "output_config", {"task_budget": {"type": "tokens", "total": 5}}),
]


@pytest.mark.parametrize("capabilities", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("beta", "field", "value"), PAIRS, ids=[beta for beta, _, _ in PAIRS])
def test_a_header_and_its_field_go_or_stay_together(
    capabilities: Capabilities, beta: str, field: str, value: Any
) -> None:
    adapted = adapt(request(headers={"anthropic-beta": beta}, **{field: value}), capabilities, upstream="u")
    assert (field in body_of(adapted)) == ("anthropic-beta" in adapted.headers)
    if capabilities is ANTHROPIC:
        assert body_of(adapted)[field] == value


@pytest.mark.parametrize("capabilities", KINDS.values(), ids=KINDS)
def test_no_upstream_is_sent_a_field_without_the_header_it_needs(capabilities: Capabilities) -> None:
    for name, feature in FEATURES.items():
        if feature.gated and feature.betas:
            assert capabilities.has(name) == all(
                capabilities.takes_beta(f"{beta}-2026-01-01") for beta in feature.betas
            )


BETAS: list[tuple[Capabilities, str, str | None]] = [
    (ANTHROPIC, "hologram-2027-01-01, advisor-tool-2026-03-01", "hologram-2027-01-01,advisor-tool-2026-03-01"),
    (ANTHROPIC, "", None),
    (
        AZURE,
        "claude-code-20250219,prompt-caching-scope-2026-01-05,effort-2025-11-24",
        "claude-code-20250219,effort-2025-11-24",
    ),
    (AZURE, "hologram-2027-01-01,advisor-tool-2026-03-01", "hologram-2027-01-01"),
    (
        AZURE,
        "mid-conversation-system-2026-04-07,context-1m-2025-08-07",
        "mid-conversation-system-2026-04-07,context-1m-2025-08-07",
    ),
    (AZURE_HOSTED, "mcp-client-2025-11-20,structured-outputs-2025-12-15,tool-search-tool-2025-10-19", None),
    (
        DATABRICKS,
        "interleaved-thinking-2025-05-14,context-1m-2025-08-07,effort-2025-11-24,hologram-2027-01-01",
        "interleaved-thinking-2025-05-14,context-1m-2025-08-07",
    ),
    (CHAT, "interleaved-thinking-2025-05-14,claude-code-20250219", None),
]


@pytest.mark.parametrize(("capabilities", "betas", "sent"), BETAS)
def test_beta_values_are_an_open_list(capabilities: Capabilities, betas: str, sent: str | None) -> None:
    assert headers(capabilities, betas).get("anthropic-beta") == sent


def test_the_version_is_the_clients_where_the_upstream_knows_it() -> None:
    assert headers(ANTHROPIC, version=None)["anthropic-version"] == "2023-06-01"
    assert headers(AZURE, version="2026-10-21")["anthropic-version"] == "2026-10-21"
    assert headers(DATABRICKS, version="2026-10-21")["anthropic-version"] == "2023-06-01"


FIELDS: list[tuple[str, Any, set[str]]] = [
    ("container", "container_1", {"anthropic", "azure"}),
    ("inference_geo", "eu", {"anthropic"}),
    ("service_tier", "auto", {"anthropic"}),
    ("hologram", {"x": 1}, {"anthropic", "azure", "hosted"}),
    ("temperature", 0.5, set(KINDS)),
    ("stop_sequences", ["x"], set(KINDS)),
    ("output_config", {"format": {"type": "json_schema"}}, set(KINDS) - {"hosted"}),
    ("output_config", {"effort": "high"}, set(KINDS)),
    ("output_config", {"sparkle": 1}, {"anthropic", "azure", "hosted"}),
    ("metadata", {"user_id": '{"device_id": "d"}'}, {"anthropic"}),
    ("metadata", {"user_id": "u", "other": 1}, set(KINDS)),
    ("cache_control", {"type": "ephemeral"}, set(KINDS)),
]


@pytest.mark.parametrize(("field", "value", "takers"), FIELDS, ids=[f"{field}-{value}" for field, value, _ in FIELDS])
def test_fields_reach_those_who_know_them(field: str, value: Any, takers: set[str]) -> None:
    assert {name for name, kind in KINDS.items() if field in reduced(kind, **{field: value})} == takers


def test_who_sits_before_the_client_is_told_to_nobody_else() -> None:
    assert reduced(AZURE, metadata={"user_id": "u", "other": 1})["metadata"] == {"other": 1}


def test_known_parts_of_output_config_stay_when_others_go() -> None:
    config = {"effort": "high", "task_budget": {"total": 1}, "sparkle": 1}
    assert reduced(DATABRICKS, output_config=config)["output_config"] == {"effort": "high"}


def test_cache_marks_lose_what_the_upstream_does_not_know() -> None:
    mark = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
    fields: Json = {
        "system": [text("s", cache_control=mark)],
        "tools": [tool("Bash", cache_control=mark)],
        "cache_control": mark,
    }
    messages = [
        user(text("q", cache_control=mark)),
        assistant(call("a")),
        user(result("a", [text("r", cache_control=mark)], cache_control=mark)),
    ]

    def marks(capabilities: Capabilities) -> list[Json | None]:
        body = reduced(capabilities, messages, **fields)
        outcome = body["messages"][2]["content"][0]
        parts = [*body["system"], *body["tools"], body, *body["messages"][0]["content"], outcome, outcome["content"][0]]
        return [part.get("cache_control") for part in parts]

    assert marks(ANTHROPIC) == [mark] * 6
    assert marks(AZURE) == [{"type": "ephemeral", "ttl": "1h"}] * 6
    assert marks(DATABRICKS) == [{"type": "ephemeral"}] * 6
    assert marks(replace(CHAT, lacks=CHAT.lacks | {"cache_control"})) == [None] * 6


VERSIONS = {
    "claude-opus-4-5-20251101": (4, 5),
    "databricks-claude-sonnet-4-6": (4, 6),
    "system.ai.claude-opus-5-5": (5, 5),
    "claude-sonnet-5": (5, 0),
    "claude-opus-4-20250514": (4, 0),
    "claude-3-5-haiku-20241022": (3, 5),
    "claude-3-haiku": (3, 0),
    "claude-via-qwen3": None,
    "gpt-5": None,
    "my-deployment": None,
}


@pytest.mark.parametrize(("model", "version"), VERSIONS.items(), ids=VERSIONS)
def test_a_claude_models_version_is_read_from_its_name(model: str, version: tuple[int, int] | None) -> None:
    assert claude_version(model) == version


ADAPTIVE: Json = {"type": "adaptive", "display": "omitted"}
MANUAL: Json = {"type": "enabled", "budget_tokens": 3000}

THINKING: list[tuple[Capabilities, str, Json, Json | None]] = [
    (AZURE, "claude-sonnet-4-5", ADAPTIVE, {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}),
    (AZURE, "claude-opus-5-5", MANUAL, {"type": "adaptive"}),
    (AZURE, "claude-opus-4-6", ADAPTIVE, ADAPTIVE),
    (AZURE, "claude-opus-4-6", MANUAL, MANUAL),
    (AZURE, "claude-3-5-haiku", ADAPTIVE, None),
    (AZURE, "my-deployment", ADAPTIVE, ADAPTIVE),
    (AZURE, "claude-opus-4-6", {"type": "between_tools"}, {"type": "adaptive"}),
    (AZURE, "claude-opus-5-5", {"type": "disabled"}, {"type": "disabled"}),
    (DATABRICKS, "databricks-claude-opus-5-5", {"type": "disabled"}, None),
    (DATABRICKS, "databricks-claude-opus-5-5", MANUAL, {"type": "adaptive"}),
    (DATABRICKS, "databricks-claude-opus-5-5", {"type": "adaptive", "display": "updates"}, {"type": "adaptive"}),
    (ANTHROPIC, "claude-sonnet-4-5", ADAPTIVE, ADAPTIVE),
    (CHAT, "qwen3", MANUAL, MANUAL),
]


@pytest.mark.parametrize(("capabilities", "model", "asked", "sent"), THINKING)
def test_thinking_is_asked_for_as_the_model_knows_it(
    capabilities: Capabilities, model: str, asked: Json, sent: Json | None
) -> None:
    body = reduced(capabilities, model=model, thinking=asked)
    assert body.get("thinking") == sent


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_tokens": 64_000, "output_config": {"effort": "low"}}, {"type": "enabled", "budget_tokens": 2048}),
        ({"max_tokens": 64_000}, {"type": "enabled", "budget_tokens": 16384}),
        ({"max_tokens": 8000}, {"type": "enabled", "budget_tokens": 4000}),
        ({"max_tokens": 1500}, None),
        ({"max_tokens": 64_000, "tool_choice": {"type": "any"}, "tools": [tool("Bash")]}, None),
        ({"max_tokens": ...}, {"type": "enabled", "budget_tokens": 16384}),
    ],
)
def test_a_budget_in_place_of_adaptive_thinking_fits_the_request(fields: Json, sent: Json | None) -> None:
    body = reduced(AZURE, model="claude-sonnet-4-5", thinking={"type": "adaptive"}, **fields)
    assert body.get("thinking") == sent
    assert "output_config" not in body


def test_a_manual_budget_is_not_begun_in_the_middle_of_calls_without_thinking() -> None:
    loop = [user("hi"), assistant(call("a")), user(result("a"))]
    assert "thinking" not in reduced(AZURE, loop, model="claude-sonnet-4-5", thinking=ADAPTIVE)


@pytest.mark.parametrize(
    ("asked", "thinking", "sent", "budget"),
    [
        (128_000, None, 8192, None),
        (4096, None, 4096, None),
        (128_000, {"type": "enabled", "budget_tokens": 31_999}, 8192, 4096),
        (128_000, {"type": "enabled", "budget_tokens": 5000}, 8192, 5000),
        (128_000, {"type": "adaptive"}, 8192, None),
    ],
)
def test_max_tokens_stays_within_the_upstreams_limit(
    asked: int, thinking: Json | None, sent: int, budget: int | None
) -> None:
    fields: Json = {"thinking": thinking} if thinking else {}
    body = reduced(replace(CHAT, max_tokens=8192), max_tokens=asked, **fields)
    assert body["max_tokens"] == sent
    assert body.get("thinking", {}).get("budget_tokens") == budget


def test_a_budget_too_small_to_be_one_is_given_up() -> None:
    body = reduced(replace(CHAT, max_tokens=1500), max_tokens=9000, thinking=MANUAL)
    assert (body["max_tokens"], body.get("thinking")) == (1500, None)


def test_the_upstreams_name_of_the_model_is_sent() -> None:
    assert body_of(adapt(request(model="deployment-7"), ANTHROPIC, upstream="u"))["model"] == "deployment-7"
    assert body_of(adapt(request(), ANTHROPIC, upstream="u"))["model"] == MODEL


def test_a_capability_that_does_not_exist_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="no such feature: holograms"):
        Capabilities(lacks=frozenset({"holograms"}))
