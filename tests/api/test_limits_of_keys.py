"""What a key may use is enforced on every way through the gateway, and what it used is counted once."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.limited import LimitedMember, join_limited, limited_key, usage_of
from tests.support.messages_api import BASH, Answer, answer_of, asking
from tests.support.places import serving
from tests.support.processes import plain_environment, until
from tests.support.scenes import bash, calls, fails, says, scene
from tests.support.scripted import ScriptedUpstream

Json = dict[str, Any]

USED = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 30}
DAY_AND_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
WAIT_FOR_ME = bash("echo begun > begun; until [ -e go ]; do sleep 0.05; done")

SCENES = [
    scene("hello", says("Hello.", usage=USED)),
    scene("work", calls(bash("echo one"), usage=USED), calls(bash("echo two"), usage=USED), says("Done.", usage=USED)),
    scene("wait for me", calls(WAIT_FOR_ME), says("Over.")),
    scene("falls silent", fails(stall=True, after_events=4)),
    scene(
        "talks long", says("Many words. " * 1000, fault={"stall": True, "after_events": 6}, usage={"output_tokens": 1})
    ),
    scene("refused", fails(status=400)),
    scene("overloaded", fails(status=529)),
    scene("breaks off", fails(cut="close", after_events=4)),
    scene("lies", says("Hello.", usage={"input_tokens": -5, "output_tokens": 10**12})),
]

PRICES = """
[[model]]
name = "claude-test"
input = 1000
output = 5000
cache_read = 100
cache_write_5m = 2000
"""
COST = (100 * 1000 + 20 * 5000 + 1000 * 100 + 30 * 2000) / 1e6
"""Dollars of one answer that reports `USED`."""

WAYS = pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "turn"])
"""A request that nothing need be done for, and one whose tools the gateway runs."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_GRACE_SECONDS": "0.2",
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "1000",
        "BULKHEAD_PRICES_FILE": str(folder / "prices.toml"),
    }
    with serving(folder, upstream_url, **variables) as running:
        yield running


def ask(member: LimitedMember, *tools: Json, prompt: str = "hello", stream: bool = False, **fields: Any) -> Answer:
    return member.caller.ask(asking(prompt, *tools, stream=stream, **fields))


def no_trace(member: LimitedMember, gateway: Gateway) -> None:
    """Nothing was asked upstream for this subject."""
    assert gateway.events("model.call", member.subject) == []


# -- each limit


@WAYS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_requests_beyond_the_minute_are_to_wait(tools: tuple[Json, ...], stream: bool, gateway: Gateway) -> None:
    member = join_limited(gateway, requests_per_minute=1)
    good = ask(member, *tools, stream=stream)
    assert good.status == 200
    assert good.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert good.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert DAY_AND_TIME.fullmatch(good.headers["anthropic-ratelimit-requests-reset"])
    assert "anthropic-ratelimit-tokens-limit" not in good.headers

    refused = ask(member, *tools, stream=stream)
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    assert "'test' may use 1 request per minute" in refused.error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "x-should-retry" not in refused.headers
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert refused.headers["request-id"] == refused.message["request_id"]
    usage_of(member, requests=1)


@WAYS
def test_tokens_beyond_the_minute_are_to_wait(tools: tuple[Json, ...], gateway: Gateway) -> None:
    """The request that goes over is finished; cache reads do not count."""
    member = join_limited(gateway, tokens_per_minute=149)
    assert ask(member, *tools).headers["anthropic-ratelimit-tokens-remaining"] == "149"
    refused = ask(member, *tools)
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    assert "may use 149 tokens per minute" in refused.error["message"]
    assert refused.headers["anthropic-ratelimit-tokens-remaining"] == "0"


@WAYS
@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"tokens_per_day": 150}, "150 of 150 tokens"),
        ({"tokens_per_month": 120}, "150 of 120 tokens"),
        ({"usd_per_day": 0.36}, "0.36 of 0.36 USD"),
        ({"usd_per_month": 0.1}, "0.36 of 0.10 USD"),
    ],
    ids=["day's tokens", "month's tokens", "day's money", "month's money"],
)
def test_a_budget_that_is_used_up_is_final(limits: Json, said: str, tools: tuple[Json, ...], gateway: Gateway) -> None:
    assert COST == 0.36
    member = join_limited(gateway, **limits)
    first = ask(member, *tools)
    assert (first.status, first.headers["anthropic-ratelimit-unified-status"]) == (200, "allowed")
    for stream in (False, True):
        refused = ask(member, *tools, stream=stream)
        assert (refused.status, refused.error["type"]) == (429, "billing_error")
        assert refused.headers["x-should-retry"] == "false"
        assert said in refused.error["message"]
        assert refused.error["details"] == {"error_code": "enforced_spend_limit_reached"}
        assert refused.headers["anthropic-ratelimit-unified-status"] == "rejected"
    usage_of(member, requests=1, input_tokens=100, output_tokens=20, cost_usd=COST)


def test_the_client_is_warned_before_its_budget_ends(gateway: Gateway) -> None:
    member = join_limited(gateway, tokens_per_day=190)
    ask(member)
    warned = ask(member)
    assert warned.headers["anthropic-ratelimit-unified-status"] == "allowed_warning"
    assert warned.headers["anthropic-ratelimit-unified-overage-surpassed-threshold"] == "0.75"


@WAYS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_model_that_is_not_the_keys_is_refused_in_words(
    tools: tuple[Json, ...], stream: bool, gateway: Gateway
) -> None:
    member = join_limited(gateway, models=("claude-haiku-*", "qwen*"))
    refused = ask(member, *tools, stream=stream)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "claude-test is not allowed" in refused.error["message"]
    assert "claude-haiku-*, qwen*" in refused.error["message"]
    assert refused.headers["x-should-retry"] == "false"
    no_trace(member, gateway)
    assert ask(member, *tools, stream=stream, model="claude-haiku-4").status == 200


def test_a_key_is_shown_the_models_that_it_may_use(gateway: Gateway) -> None:
    member = join_limited(gateway, models=("*model-b",))
    listed = member.caller.request("GET", "/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["model-b", "claude-via-model-b"]
    assert member.caller.request("GET", "/v1/models/model-a").status_code == 404


def test_tokens_are_counted_for_the_keys_models_only(gateway: Gateway) -> None:
    member = join_limited(gateway, models=("claude-haiku-*",))

    def count(model: str) -> Any:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return member.caller.request("POST", "/v1/messages/count_tokens", json=body)

    assert count("claude-haiku-4").status_code == 200
    refused = count("claude-test")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "claude-test" in refused.json()["error"]["message"]


def test_a_key_without_limits_is_told_of_none(gateway: Gateway) -> None:
    answer = ask(join_limited(gateway))
    assert not [name for name in answer.headers if name.startswith("anthropic-ratelimit")]


# -- how many at a time


@contextlib.contextmanager
def occupied(member: LimitedMember, *tools: Json, prompt: str = "falls silent") -> Iterator[None]:
    """A request that runs as long as the block does; then its client leaves."""
    with member.caller.live(asking(prompt, *tools)) as held:
        held.until("content_block_delta")
        yield


@WAYS
def test_a_client_that_leaves_makes_room(tools: tuple[Json, ...], gateway: Gateway) -> None:
    member = join_limited(gateway, concurrent_requests=1)
    with occupied(member, *tools):
        refused = ask(member, *tools)
        assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
        assert refused.headers["retry-after"] == "1"
        assert "may have 1 request running at a time" in refused.error["message"]
    until(lambda: ask(member, *tools).status == 200, "the place of the client that left", 15)


@WAYS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("prompt", ["refused", "overloaded", "breaks off"])
def test_a_request_that_fails_makes_room(prompt: str, stream: bool, tools: tuple[Json, ...], gateway: Gateway) -> None:
    member = join_limited(gateway, concurrent_requests=1)
    for _ in range(3):
        failed = ask(member, *tools, prompt=prompt, stream=stream)
        assert failed.error["type"] in ("invalid_request_error", "overloaded_error", "api_error")
    assert ask(member, *tools).status == 200


def test_a_request_that_joins_a_turn_gives_its_place_back(gateway: Gateway) -> None:
    member = join_limited(gateway, session="one", concurrent_requests=2)
    body = asking("wait for me", BASH)
    with member.caller.live(body) as first, member.caller.live(body) as second:
        until(lambda: (member.workspace / "begun").exists(), "the call to begin")
        second.until("message_start")
        elsewhere = replace(member, caller=replace(member.caller, session="two"))
        assert ask(elsewhere).status == 200, "the joined request holds no place of its own"
        (member.workspace / "go").touch()
        assert [one.finish().texts for one in (first, second)] == [["Over."]] * 2
    assert len(gateway.events("turn.start", member.subject)) == 1
    until(lambda: ask(member).status == 200, "both places")


def test_the_clients_second_try_at_a_running_turn_needs_no_place_of_its_own(gateway: Gateway) -> None:
    """Claude Code posts a body again when its stream broke; refused, the turn would end with its calls."""
    member = join_limited(gateway, session="one", concurrent_requests=1)
    with member.caller.live(asking("wait for me", BASH)):
        until(lambda: (member.workspace / "begun").exists(), "the call to begin")
        with member.caller.streaming(asking("wait for me", BASH, stream=True)) as again:
            (member.workspace / "go").touch()
            told = answer_of(again.status_code, again.headers, again.read())
    assert (told.status, told.texts[-1]) == (200, "Over.")


def test_at_most_so_many_run_at_a_time(gateway: Gateway) -> None:
    member = join_limited(gateway, concurrent_requests=2)
    with ThreadPoolExecutor(6) as pool, occupied(member):
        statuses = sorted(done.status for done in pool.map(lambda _: ask(member), range(6)))
    assert 200 in statuses
    assert set(statuses) <= {200, 429}
    until(lambda: ask(member).status == 200, "every place")


# -- changes


def test_a_changed_limit_reaches_the_running_gateway(gateway: Gateway) -> None:
    member = join_limited(gateway)
    assert ask(member).status == 200

    def limit(*options: str) -> None:
        environment = plain_environment(
            gateway.data_dir.parent, BULKHEAD_DATA_DIR=str(gateway.data_dir), WORKSPACE_ROOT=str(gateway.workspace_root)
        )
        command = [gateway.program, "keys", "limit", member.key_id, *options, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)

    limit("--models", "claude-haiku-*")
    until(lambda: ask(member).status == 400, "the narrower list of models", 15)
    limit("--models", "default", "--tokens-per-day", "1")
    # What was used before the limit came counts.
    until(lambda: ask(member).status == 429, "the budget", 15)
    limit("--tokens-per-day", "default")
    until(lambda: ask(member).status == 200, "no limit any more", 15)


def test_limits_belong_to_the_key_and_usage_to_the_subject(gateway: Gateway) -> None:
    member = join_limited(gateway, requests_per_minute=1)
    _, secret = limited_key(gateway, member.subject, member.workspace, requests_per_minute=1)
    other = replace(member, caller=replace(member.caller, key=secret))
    assert [ask(one).status for one in (member, other, member, other)] == [200, 200, 429, 429]
    assert [row["requests"] for row in usage_of(other, requests=2)] == [1, 1]


# -- what was used


@WAYS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_is_counted_once_with_its_price(tools: tuple[Json, ...], stream: bool, gateway: Gateway) -> None:
    member = join_limited(gateway)
    ask(member, *tools, stream=stream)
    [row] = usage_of(member, "model", requests=1, output_tokens=20)
    assert row == {
        "model": "claude-test",
        "requests": 1,
        "input_tokens": 100,
        "output_tokens": 20,
        "cache_read_tokens": 1000,
        "cache_write_tokens": 30,
        "unpriced_tokens": 0,
        "cost_usd": COST,
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_turn_of_several_model_calls_is_one_request_with_their_sum(stream: bool, gateway: Gateway) -> None:
    member = join_limited(gateway)
    answer = ask(member, BASH, prompt="work", stream=stream)
    assert answer.message["usage"]["input_tokens"] == 300
    usage_of(member, requests=1, input_tokens=300, output_tokens=60, cache_read_tokens=3000, cost_usd=3 * COST)


def test_a_turn_that_is_joined_is_paid_once(gateway: Gateway) -> None:
    member = join_limited(gateway, session="one")
    body = asking("wait for me", BASH)
    with member.caller.live(body) as first, member.caller.live(body) as second:
        for one in (first, second):
            one.until("message_start")
        (member.workspace / "go").touch()
        told = first.finish().message["usage"]
        second.finish()
    usage_of(member, requests=1, output_tokens=told["output_tokens"])


@WAYS
def test_what_came_before_the_client_left_is_counted(
    tools: tuple[Json, ...], gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    member = join_limited(gateway)
    with occupied(member, *tools):
        pass
    [row] = usage_of(member, requests=1)
    assert row["input_tokens"] > 0
    assert gateway.event("model.result", member.subject)["input_tokens"] == row["input_tokens"]


@WAYS
def test_words_that_came_before_the_client_left_are_counted(tools: tuple[Json, ...], gateway: Gateway) -> None:
    """Else a client spares its budget by hanging up one event before the end."""
    member = join_limited(gateway)
    with occupied(member, *tools, prompt="talks long"):
        pass
    [row] = usage_of(member, requests=1)
    assert row["output_tokens"] > 500


@WAYS
def test_a_request_that_failed_is_a_request_without_tokens(tools: tuple[Json, ...], gateway: Gateway) -> None:
    member = join_limited(gateway)
    ask(member, *tools, prompt="refused")
    usage_of(member, requests=1, input_tokens=0, output_tokens=0, cost_usd=0)


@WAYS
def test_a_lie_about_usage_is_held_within_reason(tools: tuple[Json, ...], gateway: Gateway) -> None:
    member = join_limited(gateway)
    assert ask(member, *tools, prompt="lies").status == 200
    usage_of(member, requests=1, input_tokens=0, output_tokens=10_000_000)
