"""Limits on the command line: given with a new key, changed later, shown in lists, kept in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bulkhead = Callable[..., Any]


@pytest.fixture
def made(bulkhead: Bulkhead) -> Callable[..., Any]:
    def create(*options: str) -> Any:
        return bulkhead("keys", "create", "laptop", "--subject", "alice", *options, "--json").json()

    return create


def test_a_key_is_made_with_limits(made: Callable[..., Any]) -> None:
    key = made(
        "--rpm", "60", "--tpm", "200k", "--tokens-per-day", "1.5M", "--tokens-per-month", "unlimited",
        "--usd-per-day", "2.50", "--usd-per-month", "25", "--concurrent", "4", "--models", "claude-haiku-*, qwen*",
    )  # fmt: skip
    assert key["limits"] == {
        "requests_per_minute": 60,
        "tokens_per_minute": 200_000,
        "tokens_per_day": 1_500_000,
        "tokens_per_month": "unlimited",
        "usd_per_day": 2.5,
        "usd_per_month": 25,
        "concurrent_requests": 4,
        "models": ["claude-haiku-*", "qwen*"],
    }


def test_changing_one_limit_leaves_the_others(bulkhead: Bulkhead, made: Callable[..., Any]) -> None:
    key = made("--rpm", "60", "--usd-per-month", "25")["id"]
    changed = bulkhead("keys", "limit", key, "--rpm", "default", "--concurrent", "2", "--json").json()
    assert changed["limits"] == {"usd_per_month": 25, "concurrent_requests": 2}
    assert bulkhead("keys", "limit", key).out == f"Key {key} (laptop): 25 USD per month, 2 requests at a time.\n"
    bulkhead("keys", "limit", key, "--concurrent", "default", "--usd-per-month", "default")
    assert bulkhead("keys", "limit", key, "--json").json()["limits"] == {}
    assert "no limits of its own" in bulkhead("keys", "limit", key).out


def test_limits_are_in_the_list(bulkhead: Bulkhead, made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    made("--rpm", "60", "--tokens-per-day", "unlimited")
    made()
    assert [key["limits"] for key in bulkhead("keys", "list", "--json").json()] == [
        {"requests_per_minute": 60, "tokens_per_day": "unlimited"},
        {},
    ]
    assert "60 requests per minute, unlimited tokens per day" in bulkhead("keys", "list").out


def test_changed_limits_are_in_the_audit_log(bulkhead: Bulkhead, made: Callable[..., Any]) -> None:
    key = made("--rpm", "60")
    bulkhead("keys", "limit", key["id"], "--rpm", "120")
    bulkhead("keys", "limit", key["id"])
    created, limited = bulkhead("audit", "list", "--json").json()
    assert created["body"]["limits"] == {"requests_per_minute": 60}
    assert (limited["kind"], limited["principal"], limited["body"]["key_id"]) == ("key.limited", "alice", key["id"])
    assert limited["body"]["before"] == {"requests_per_minute": 60}
    assert limited["body"]["limits"] == {"requests_per_minute": 120}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rpm", "many"), "--rpm 'many' is no number of requests per minute"),
        (("--rpm", "0"), "--rpm 0: requests_per_minute must be between 1"),
        (("--rpm", "1.5"), "--rpm 1.5: requests_per_minute must be a whole number"),
        (("--tpm", "-5"), "--tpm '-5' is no number"),
        (("--tpm", "1e99"), "--tpm '1e99' is no number"),
        (("--tokens-per-day", "9" * 18), "must be between"),
        (("--usd-per-month", "$5"), "--usd-per-month '$5' is no number of USD per month"),
        (("--usd-per-day", "0"), "--usd-per-day 0: usd_per_day must be between"),
        (("--models", " , "), "--models"),
    ],
)
def test_a_limit_that_makes_no_sense_is_told_by_its_option(
    bulkhead: Bulkhead, made: Callable[..., Any], options: tuple[str, ...], said: str
) -> None:
    key = made()["id"]
    for command in (("create", "a", "--subject", "a"), ("limit", key)):
        failed = bulkhead("keys", *command, *options)
        assert failed.code == 2
        assert said in failed.err
        assert "Traceback" not in failed.err
    assert [kept["limits"] for kept in bulkhead("keys", "list", "--json").json()] == [{}]


def test_limits_of_a_key_that_does_not_exist(bulkhead: Bulkhead, made: Callable[..., Any]) -> None:
    made()
    for options in ((), ("--rpm", "1")):
        failed = bulkhead("keys", "limit", "nobody", *options)
        assert (failed.code, "there is no key 'nobody'" in failed.err) == (1, True)
