"""`bulkhead usage` and `bulkhead cache` beside a gateway that runs: what was asked of it is what they tell."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.canned_upstream import Canned, CannedUpstream, canned_upstream, streamed
from tests.support.gateway import Gateway
from tests.support.limited import join_limited, usage_of
from tests.support.messages_api import BASH, asking
from tests.support.places import Member, join, serving
from tests.support.processes import plain_environment

Json = dict[str, Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

PRICES = """
[[model]]
name = "claude-test"
input = 1000
output = 2000
"""


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedUpstream]:
    with canned_upstream() as serving_it:
        serving_it.answer = Canned(streamed("Hello."))
        yield serving_it


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "PROMPT_CACHE_ENABLED": "true",
        "BULKHEAD_PRICES_FILE": str(folder / "prices.toml"),
    }
    with serving(folder, canned.url, **variables) as running:
        yield running


@pytest.fixture
def run(gateway: Gateway) -> Run:
    """`bulkhead ARGUMENTS...` with the gateway's data directory."""

    def call(*arguments: str, key: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        if key is not None:
            variables["BULKHEAD_API_KEY"] = key
        environment = plain_environment(
            gateway.data_dir.parent,
            BULKHEAD_DATA_DIR=str(gateway.data_dir),
            WORKSPACE_ROOT=str(gateway.workspace_root),
            COLUMNS="240",
            **variables,
        )
        command = [gateway.program, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture
def member(gateway: Gateway) -> Member:
    return join(gateway, session=None)


def ask(member: Member, prompt: str, *tools: Json) -> str:
    """Asks, and says what the cache had to do with the answer."""
    return str(member.caller.ask(asking(prompt, *tools)).headers["x-bulkhead-cache"])


def test_usage_of_the_running_gateway_is_the_same_by_command_and_by_api(gateway: Gateway, run: Run) -> None:
    """A miss, its hit and a turn: three requests, two of which cost."""
    member = join_limited(gateway)
    assert [ask(member, "hello"), ask(member, "hello"), ask(member, "work", BASH)] == [
        "miss",
        "hit",
        "bypass; reason=tools",
    ]
    rows = usage_of(member, requests=3, input_tokens=22, output_tokens=14)
    done = run("usage", "--subject", member.subject, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["data"] == rows
    assert told["data"] == [
        {
            "key": member.key_id,
            "name": "test",
            "subject": member.subject,
            "requests": 3,
            "input_tokens": 22,
            "output_tokens": 14,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "unpriced_tokens": 0,
            "cost_usd": 0.05,
        }
    ]


def test_usage_as_csv_and_as_a_table_has_the_same_numbers(gateway: Gateway, run: Run) -> None:
    member = join_limited(gateway)
    ask(member, "hello")
    usage_of(member, requests=1, output_tokens=7)
    shown = run("usage", "--subject", member.subject, "--by", "model", "--csv").stdout
    [row] = csv.DictReader(io.StringIO(shown))
    assert (row["model"], row["requests"], row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (
        "claude-test",
        "1",
        "11",
        "7",
        "0.025",
    )
    table = run("usage", "--subject", member.subject).stdout
    for part in (member.key_id, member.subject, "0.0250", "total"):
        assert part in table, part


def test_usage_outlives_its_key(gateway: Gateway, run: Run) -> None:
    member = join_limited(gateway)
    ask(member, "hello")
    usage_of(member, requests=1)
    assert run("keys", "revoke", member.key_id).returncode == 0
    assert json.loads(run("usage", "--subject", member.subject, "--json").stdout)["total"]["requests"] == 1


def test_cache_stats_tell_what_the_keys_subject_keeps(
    gateway: Gateway, member: Member, run: Run, canned: CannedUpstream
) -> None:
    for prompt in ("one", "two", "one", "one"):
        ask(member, prompt)
    ask(member, "work", BASH)
    done = run("cache", "stats", "--url", gateway.url, "--json", key=member.caller.key)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {name: told[name] for name in ("subject", "enabled", "entries", "hits", "misses", "kept", "bypassed")} == {
        "subject": member.subject,
        "enabled": True,
        "entries": 2,
        "hits": 2,
        "misses": 2,
        "kept": 2,
        "bypassed": {"tools": 1},
    }
    lines = run("cache", "stats", "--url", gateway.url, key=member.caller.key).stdout
    assert "2 of at most 64" in lines and "2 (50%)" in lines and "tools 1" in lines


def test_a_purge_by_command_empties_the_subjects_share_only(
    gateway: Gateway, member: Member, run: Run, canned: CannedUpstream
) -> None:
    other = join(gateway, session=None)
    for one in (member, other):
        ask(one, "hello")
    purged = run("cache", "purge", "--url", gateway.url, key=member.caller.key)
    assert (purged.returncode, purged.stdout) == (0, f"Forgotten: 1 of {member.subject}.\n")
    assert [ask(one, "hello") for one in (member, other)] == ["miss", "hit"]


def test_a_key_that_is_no_good_is_told_in_words_and_by_the_exit_code(gateway: Gateway, run: Run) -> None:
    for command in ("stats", "purge"):
        wrong = run("cache", command, "--url", gateway.url, key="bh_wrong")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "the key is not good" in wrong.stderr
        assert run("cache", command, "--url", gateway.url).returncode == 2
