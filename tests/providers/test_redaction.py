"""Texts of an upstream lose what is the operator's, and keep everything else to the letter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers.redaction import MAX_TEXT, for_client, for_client_value, for_log

GUID = "1b2c3d4e-aaaa-bbbb-cccc-1234567890ab"
SECRETS = [
    "dapi0123456789abcdef0123456789abcdef",
    "dapi01234567-2",
    "sk-ant-api03-AbCdEf_gh-ij",
    "sk-proj-ab***yz",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdef",
    "gsk_abc123DEF456",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "Bearer abc.def-ghi",
    "api key: 9f8e7d",
    "client_secret=abc~1",
    "0123456789abcdef0123456789abcdef",
]
PLACES = [
    "https://adb-1234567890123456.7.azuredatabricks.net/serving-endpoints/x?o=1",
    "dbc-a1b2c3d4-e5f6.cloud.databricks.com",
    "my-resource.services.ai.azure.com",
    "my-res.openai.azure.com:443",
    "http://10.1.2.3:8000/v1",
    "10.1.2.3:8080",
    "[fd00::1]:8000",
    "model-7.prod.svc.cluster.local",
    "gpu3.internal:9000",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x",
    "123456789012",
    "/subscriptions/abc/resourceGroups/rg/providers/x",
    "projects/my-project/locations/eu/publishers/anthropic",
    f"tenant '{GUID}'",
    f"request id: {GUID}",
    "req_011CSMpBih64Gz42SHKqX8mZ",
    "workspace 1234567890123456",
    "org-AbCdEfGh1234",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_neither_told_nor_logged(secret: str) -> None:
    for clean in (for_client, for_log):
        said = clean(f"the value {secret} was wrong")
        assert secret not in said
        assert said.startswith("the value [removed]")
        assert said.endswith("was wrong")


@pytest.mark.parametrize("place", PLACES)
def test_addresses_and_accounts_are_not_told_but_logged(place: str) -> None:
    text = f"the place {place} was wrong"
    said = for_client(text)
    assert place not in said
    assert "[removed]" in said
    assert said.endswith("was wrong")
    assert for_log(text) == text


UNCHANGED = [
    "prompt is too long: 203012 tokens > 200000 maximum",
    "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_01A09q90qw90lq917835lq9, call_12",
    f"messages.3: tool_use id {GUID} was not found",
    "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5-20250929",
    "Unexpected value(s) `context-1m-2025-08-07` for the `anthropic-beta` header. Please consult our documentation at "
    "docs.claude.com or try again without the header.",
    "See https://docs.claude.com/en/docs/errors for more.",
    "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12",
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "Overloaded",
    "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted",
    "claude-opus-4-1@20250805 is not available: naïve 日本 😀",
]


@pytest.mark.parametrize("text", UNCHANGED)
def test_a_text_without_them_stays_to_the_letter(text: str) -> None:
    assert for_client(text) == text


def test_only_public_documentation_keeps_its_address() -> None:
    assert for_client("see https://docs.claude.com.evil.test/a") == "see [removed]"
    assert for_client("see https://user@docs.claude.com/a") == "see https://user@docs.claude.com/a"
    assert for_client("see https://docs.claude.com/a?token=1") == "see [removed]"


def test_a_stack_trace_becomes_one_sentence() -> None:
    trace = 'Traceback (most recent call last):\n  File "/srv/app/serve.py", line 3, in f\nKeyError: 1'
    assert for_client(trace) == "The upstream model service failed with an internal error."


def test_values_are_cleaned_at_every_depth_and_cut() -> None:
    value = {"a": ["http://x.internal/", 5, None], "b": {"c": {"d": {"e": ["deep"]}}}, "l": list(range(500))}
    clean = for_client_value(value)
    assert clean["a"] == ["[removed]", 5, None]
    assert clean["b"] == {"c": {"d": {"e": None}}}
    assert len(clean["l"]) == 200


@settings(max_examples=200, deadline=None)
@given(
    before=st.text(max_size=40),
    secret=st.sampled_from([*SECRETS, *PLACES]),
    after=st.text(max_size=40),
    many=st.integers(1, 3),
)
def test_no_text_around_makes_it_longer_than_it_may_be(before: str, secret: str, after: str, many: int) -> None:
    said = for_client(f"{before} {secret} {after} " * many)
    assert len(said) <= MAX_TEXT
    assert secret not in said
