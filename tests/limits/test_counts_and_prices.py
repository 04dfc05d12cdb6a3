"""What a report of an upstream counts as, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.counts import MOST_TOKENS, Counts, counts_of
from gateway.limits.prices import NANOS, Prices, PricesError

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("value", "counted", "doubtful"),
    [
        (7, 7, False),
        (None, 0, False),
        (-5, 0, True),
        (10**30, MOST_TOKENS, True),
        ("12", 12, True),
        ("9" * 5000, MOST_TOKENS, True),
        ("many", 0, True),
        ("١٢", 0, True),
        (True, 0, True),
        (3.9, 3, True),
        (float("nan"), 0, True),
        (float("inf"), MOST_TOKENS, True),
        (float("-inf"), 0, True),
        ([1], 0, True),
        ({"n": 1}, 0, True),
    ],
)
def test_counts_of_an_upstream_that_lies_stay_plausible(value: Any, counted: int, doubtful: bool) -> None:
    [counts] = counts_of({"input_tokens": value, "output_tokens": 1})
    assert (counts.input, counts.output, counts.doubtful) == (counted, 1, doubtful)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "iterations",
        "speed",
        "ephemeral_1h_input_tokens",
        "ephemeral_5m_input_tokens",
    ]
)
USAGES = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=6)


@given(USAGES)
def test_any_usage_is_counted_within_bounds_and_never_raises(usage: dict[str, Any]) -> None:
    calls = counts_of(usage)
    assert calls
    for call in calls:
        for count in (call.input, call.output, call.cache_read, call.write_5m, call.write_1h):
            assert 0 <= count <= 2 * MOST_TOKENS


def test_cache_writes_are_split_by_how_long_they_live() -> None:
    split = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    [counts] = counts_of({"cache_creation_input_tokens": 100, "cache_creation": split})
    assert (counts.write_5m, counts.write_1h, counts.cache_write) == (30, 70, 100)
    [unsplit] = counts_of({"cache_creation_input_tokens": 100})
    assert (unsplit.write_5m, unsplit.write_1h) == (100, 0)
    [contradictory] = counts_of({"cache_creation_input_tokens": 10, "cache_creation": split})
    assert contradictory.cache_write == 100


def test_listed_calls_are_counted_each_when_they_are_more_than_the_report() -> None:
    usage = {
        "input_tokens": 50,
        "output_tokens": 30,
        "iterations": [{"input_tokens": 40, "output_tokens": 10}, {"input_tokens": 50, "output_tokens": 20}],
    }
    assert [(call.input, call.output) for call in counts_of(usage)] == [(40, 10), (50, 20)]
    usage["iterations"] = [{"input_tokens": 1}]
    assert [(call.input, call.output) for call in counts_of(usage)] == [(50, 30)]


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices.load()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("claude-opus-4-8[1m]", "claude-opus-4-8"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("databricks-claude-opus-4-1", "claude-opus-4-1"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5:beta", "claude-sonnet-4-5"),
        ("Claude-Haiku-4-5-Latest", "claude-haiku-4-5"),
        ("claude-3-5-haiku-20241022", "claude-3-5-haiku"),
        ("claude-opus-4-9", None),
        ("claude-opus-6", None),
        ("claude-opus-4-8-mini", None),
        ("preclaude-opus-4-8", None),
        ("gpt-6-sol", None),
        ("", None),
        ("claude-opus-4-8@" + "x" * 100_000, None),
    ],
)
def test_a_model_is_known_by_whatever_name_its_platform_gives_it(prices: Prices, model: str, name: str | None) -> None:
    found = prices.of(model)
    assert (found.name if found is not None else None) == name
    assert prices.of(model) is found


def dollars(prices: Prices, model: str, **counts: Any) -> float:
    price = prices.of(model)
    assert price is not None
    return price.nanos(Counts(**counts)) / NANOS


def test_every_kind_of_token_has_its_price(prices: Prices) -> None:
    for kind, usd in {"input": 5, "output": 25, "write_5m": 6.25, "write_1h": 10, "cache_read": 0.5}.items():
        assert dollars(prices, "claude-opus-4-8", **{kind: MILLION}) == usd
    assert dollars(prices, "claude-opus-5-5", cache_read=MILLION) == 0.2
    assert dollars(prices, "claude-opus-4-8", input=1) == 0.000005


def test_the_faster_mode_and_long_prompts_cost_more(prices: Prices) -> None:
    assert dollars(prices, "claude-opus-4-8", input=MILLION, fast=True) == 10
    assert dollars(prices, "claude-haiku-5-5", input=100_000, output=10) == pytest.approx(0.010005)
    assert dollars(prices, "claude-haiku-5-5", input=1, cache_read=100_000) == pytest.approx(0.0050005)


def test_the_operators_prices_come_first(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[model]]\nname = "claude-opus-4-8"\ninput = 1\noutput = 2\n'
        '[[model]]\nname = "qwen*"\ninput = 0.5\noutput = 1\n'
    )
    prices = Prices.load(own)
    assert dollars(prices, "databricks-claude-opus-4-8", input=MILLION) == 1
    assert dollars(prices, "qwen3-coder", output=MILLION) == 1
    assert dollars(prices, "claude-opus-4-7", input=MILLION) == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[model", "no TOML"),
        ("model = 3", "[[model]]"),
        ("[[model]]\ninput = 1\noutput = 1", "no name"),
        ('[[model]]\nname = "m"\ninput = 1', "input and output"),
        ('[[model]]\nname = "m"\ninput = -1\noutput = 1', "input must be"),
        ('[[model]]\nname = "m"\ninput = "1"\noutput = 1', "input must be"),
        ('[[model]]\nname = "m"\ninput = nan\noutput = 1', "input must be"),
        ('[[model]]\nname = "m"\ninput = 1\noutput = 1\ncahce_read = 1', "cahce_read"),
        ('[[model]]\nname = "m"\ninput = 1\noutput = 1\nfast = 3', "fast"),
        ('[[model]]\nname = "m"\ninput = 1\noutput = 1\n[model.long]\ninput = 1\noutput = 1', "long.above"),
    ],
)
def test_a_price_table_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(PricesError, match=r"own\.toml") as caught:
        Prices.load(own)
    assert said in str(caught.value)


def test_a_missing_price_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"nothing\.toml cannot be read"):
        Prices.load(tmp_path / "nothing.toml")
