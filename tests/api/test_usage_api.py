"""GET /api/usage: the caller's own usage, by day, model or key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.api import usage
from gateway.limits.calendar import period_of
from gateway.store.usage import UsageRecords, UsageRow
from tests.support.small_gateway import SmallGateway, small_gateway

TODAY = period_of(time.time())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallGateway]:
    with small_gateway(tmp_path_factory.mktemp("usage"), usage.router) as running:
        UsageRecords(running.engine).add(
            [
                UsageRow("k1", "2026-10-30", "opus", "alice", 2, 10, 20, 30, 40, 0, 1_500_000_000),
                UsageRow("k1", "2026-10-31", "opus", "alice", 1, 1, 1, 0, 0, 0, 250_000),
                UsageRow("k2", "2026-10-31", "qwen", "alice", 4, 100, 100, 0, 0, 200, 0),
                UsageRow("k9", "2026-10-31", "opus", "bob", 9, 900, 900, 0, 0, 0, 9_000_000_000),
                UsageRow("k1", TODAY.day, "opus", "alice", 1),
            ]
        )
        yield running


def ask(served: SmallGateway, query: str, subject: str = "alice") -> httpx.Response:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        return client.get(f"/api/usage?{query}", headers={"x-api-key": served.key(subject)})


def told(served: SmallGateway, query: str, subject: str = "alice") -> Any:
    answer = ask(served, query, subject)
    assert answer.status_code == 200, answer.text
    return answer.json()


OCTOBER = "from=2026-10-01&to=2026-10-31"


def test_days_come_in_order_with_their_sum(served: SmallGateway) -> None:
    report = told(served, OCTOBER)
    assert (report["from"], report["to"], report["group_by"]) == ("2026-10-01", "2026-10-31", "day")
    assert [(row["day"], row["requests"]) for row in report["data"]] == [("2026-10-30", 2), ("2026-10-31", 5)]
    assert report["total"] == {
        "requests": 7,
        "input_tokens": 111,
        "output_tokens": 121,
        "cache_read_tokens": 30,
        "cache_write_tokens": 40,
        "unpriced_tokens": 200,
        "cost_usd": 1.50025,
    }


def test_models_and_keys_come_with_the_most_expensive_first(served: SmallGateway) -> None:
    models = told(served, f"{OCTOBER}&group_by=model")["data"]
    assert [(row["model"], row["cost_usd"], row["unpriced_tokens"]) for row in models] == [
        ("opus", 1.50025, 0),
        ("qwen", 0, 200),
    ]
    keys = told(served, f"{OCTOBER}&group_by=key")["data"]
    assert [(row["key"], row["subject"]) for row in keys] == [("k1", "alice"), ("k2", "alice")]


def test_nobody_sees_what_another_subject_used(served: SmallGateway) -> None:
    assert told(served, OCTOBER, "bob")["total"]["requests"] == 9
    assert told(served, OCTOBER, "carol")["data"] == []


def test_without_dates_it_is_the_current_month(served: SmallGateway) -> None:
    report = told(served, "")
    assert report["from"] == TODAY.month_begin
    assert report["total"]["requests"] == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=yesterday", "from: Input should be a date"),
        ("to=20261031", "to: Input should be a date"),
        ("from=2026-02-30", "from: Input should be a date"),
        ("from=2026-11-02&to=2026-11-01", "from: 2026-11-02 is after 2026-11-01"),
        ("group_by=subject", "group_by"),
        ("from=%00", "from: Input should be a date"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(served: SmallGateway, query: str, said: str) -> None:
    answer = ask(served, query)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert said in answer.json()["error"]["message"]


def test_usage_needs_a_key(served: SmallGateway) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        assert client.get("/api/usage").status_code == 401
