"""Where a model name leads."""

from __future__ import annotations

import pytest

from gateway.messages.errors import InvalidRequest
from gateway.routing.route import ModelRoute, Routes, Target

ENTRIES = [
    ModelRoute("claude-opus-5-5", (Target("azure", "opus-deployment"), Target("anthropic", "claude-opus-5-5"))),
    ModelRoute("claude-*", (Target("anthropic", "*"),)),
    ModelRoute("claude-haiku-*", (Target("databricks", "small"), Target("anthropic", "*")), max_tokens=8192),
    ModelRoute("fast", (Target("vllm", "qwen3"),), "Fast", 4096),
    ModelRoute("claude-via-own", (Target("vllm", "own"),)),
]
UPSTREAMS = ["anthropic", "azure", "databricks", "vllm"]


def leads(routes: Routes, model: str) -> list[tuple[str, str]]:
    return [(target.upstream, target.model) for target in routes.route(model).targets]


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        ("claude-opus-5-5", [("azure", "opus-deployment"), ("anthropic", "claude-opus-5-5")]),
        ("claude-sonnet-5", [("anthropic", "claude-sonnet-5")]),
        ("claude-haiku-4-5", [("databricks", "small"), ("anthropic", "claude-haiku-4-5")]),
        ("claude-haiku-", [("databricks", "small"), ("anthropic", "claude-haiku-")]),
        ("fast", [("vllm", "qwen3")]),
        ("claude-via-fast", [("vllm", "qwen3")]),
        ("claude-via-own", [("vllm", "own")]),
        ("claude-via-qwen/qwen3", [("vllm", "qwen/qwen3")]),
        ("vllm/qwen/qwen3", [("vllm", "qwen/qwen3")]),
        ("claude-via-azure/gpt", [("azure", "gpt")]),
        ("anything", [("vllm", "anything")]),
    ],
)
def test_names_come_before_patterns_and_longer_patterns_before_shorter(
    model: str, targets: list[tuple[str, str]]
) -> None:
    assert leads(Routes(ENTRIES, UPSTREAMS, default="vllm", discovery=True), model) == targets


@pytest.mark.parametrize("model", ["gpt", "vllm/gpt", "claude-via-gpt", "claude-via-", "vllm/", "/gpt"])
def test_without_a_default_other_names_are_refused_with_400(model: str) -> None:
    with pytest.raises(InvalidRequest, match="is not offered by this gateway") as caught:
        Routes(ENTRIES[2:4], UPSTREAMS).route(model)
    assert caught.value.status == 400
    assert model in caught.value.message


def test_an_upstream_is_named_before_a_slash_only_where_lists_are_told() -> None:
    assert leads(Routes([], UPSTREAMS, discovery=True), "azure/x") == [("azure", "x")]
    assert leads(Routes([], UPSTREAMS, default="vllm"), "azure/x") == [("vllm", "azure/x")]


def test_offered_names_are_the_only_ones_under_either_spelling() -> None:
    routes = Routes(ENTRIES, UPSTREAMS, default="vllm", discovery=True, offered=("fast", "claude-sonnet-5"))
    assert leads(routes, "fast") == leads(routes, "claude-via-fast") == [("vllm", "qwen3")]
    assert leads(routes, "claude-sonnet-5") == [("anthropic", "claude-sonnet-5")]
    for model in ("claude-opus-5-5", "anything", "vllm/qwen3", "claude-via-claude-opus-5-5"):
        with pytest.raises(InvalidRequest):
            routes.route(model)


def test_a_route_says_what_was_asked_for_how_it_is_called_and_its_cap() -> None:
    routes = Routes(ENTRIES, UPSTREAMS)
    fast = routes.route("claude-via-fast")
    assert (fast.requested, fast.display_name, fast.max_tokens) == ("claude-via-fast", "Fast", 4096)
    assert routes.route("claude-haiku-4-5").max_tokens == 8192
