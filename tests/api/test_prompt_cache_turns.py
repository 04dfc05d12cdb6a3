"""The prompt cache as clients meet it: what it answers, what it leaves alone, and that it costs nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.support.canned_upstream import Canned, CannedUpstream, canned_upstream, event, streamed
from tests.support.forwarding import GATEWAY_VARIABLES, canned
from tests.support.gateway import Gateway
from tests.support.limited import join_limited, limited_key, usage_of
from tests.support.messages_api import ASK, BASH, Answer, asking
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.raw_post import raw_post

__all__ = ["canned"]

Json = dict[str, Any]

JSON = "application/json"
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
VARIABLES = {"PROMPT_CACHE_ENABLED": "true", **GATEWAY_VARIABLES}


@pytest.fixture(autouse=True)
def plain_answers(canned: CannedUpstream) -> None:
    """Turns ask for a stream, whatever their client asked for."""
    canned.seen.clear()
    canned.answers = {}
    canned.answer = Canned(streamed("Hello."))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway"), canned.url, **VARIABLES) as running:
        yield running


@pytest.fixture
def member(gateway: Gateway) -> Member:
    return join(gateway, session=None)


def ask(member: Member, *tools: Json, prompt: Any = "hello", stream: bool = False, **more: Any) -> Answer:
    headers = more.pop("headers", {})
    return member.caller.ask(asking(prompt, *tools, stream=stream, **more), **headers)


def verdict(answer: Answer) -> str:
    """What the answer's header says of the cache."""
    return str(answer.headers.get("x-bulkhead-cache", ""))


def stats(member: Member) -> Json:
    found: Json = member.caller.request("GET", "/api/cache").json()
    return found


# -- a hit


@pytest.mark.parametrize("first", [False, True], ids=["made whole", "made as a stream"])
@pytest.mark.parametrize("stream", [False, True], ids=["told whole", "told as a stream"])
def test_a_repeated_request_is_answered_from_memory(
    first: bool, stream: bool, member: Member, canned: CannedUpstream
) -> None:
    made, told = ask(member, stream=first), ask(member, stream=stream)
    assert (verdict(made), verdict(told)) == ("miss", "hit")
    assert "age" not in made.headers and int(told.headers["age"]) >= 0
    assert (told.status, told.texts, told.message["stop_reason"]) == (200, ["Hello."], "end_turn")
    assert told.message["model"] == "claude-test"
    assert told.message["id"] != made.message["id"]
    assert told.message["usage"]["output_tokens"] == made.message["usage"]["output_tokens"] == 7
    assert told.headers["request-id"] != made.headers["request-id"]
    assert told.headers["x-bulkhead-session"]
    assert len(canned.seen) == 1
    if stream:
        assert told.events[0][1]["message"]["usage"]["input_tokens"] == 11
        assert told.events[-1][0] == "message_stop"
        assert told.headers["content-type"].startswith("text/event-stream")
    else:
        assert told.message["usage"]["input_tokens"] == 11


def test_a_hit_is_free_of_tokens_and_of_cost_and_in_the_audit_log(gateway: Gateway) -> None:
    member = join_limited(gateway, requests_per_minute=100, tokens_per_minute=1000, tokens_per_day=1000)
    answers = [ask(member) for _ in range(3)]
    assert [verdict(answer) for answer in answers] == ["miss", "hit", "hit"]
    rests = [int(answer.headers["anthropic-ratelimit-tokens-remaining"]) for answer in answers]
    assert rests[1] <= rests[2], "the second hit found no fewer tokens than the first"
    usage_of(member, requests=3, input_tokens=11, output_tokens=7)
    cached = gateway.event("model.cached", member.subject)
    assert (cached["model"], cached["age"] >= 0, len(cached["digest"])) == ("claude-test", True, 64)
    assert len(gateway.events("model.cached", member.subject)) == 2
    assert len(gateway.events("model.call", member.subject)) == 1


def test_a_hit_is_subject_to_the_keys_limits_all_the_same(gateway: Gateway, canned: CannedUpstream) -> None:
    member = join_limited(gateway, concurrent_requests=1)
    assert [verdict(ask(member)) for _ in range(4)] == ["miss", "hit", "hit", "hit"], "every hit gave its place back"
    key_id, secret = limited_key(gateway, member.subject, member.workspace, models=("claude-haiku-*",))
    narrow = replace(member, key_id=key_id, caller=replace(member.caller, key=secret))
    assert ask(narrow).status == 400
    assert verdict(ask(narrow, model="claude-haiku-4")) == "miss"


SAME: dict[str, Json] = {
    "a list of one text": {"prompt": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
    "cache marks": {
        "prompt": [
            {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]}
        ]
    },
    "metadata": {"metadata": {"user_id": "somebody else"}},
    "the attribution block": {"system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2"}]},
    "an explicit null": {"temperature": None},
    "another session": {"headers": {"x_bulkhead_session": "another"}},
}
OTHER: dict[str, Json] = {
    "other words": {"prompt": "hello!"},
    "another model": {"model": "claude-other"},
    "another temperature": {"temperature": 0.5},
    "another size": {"max_tokens": 999},
    "a field of tomorrow": {"field_of_tomorrow": 1},
    "a system prompt": {"system": "Be brief."},
    "a beta": {"headers": {"anthropic_beta": "beta-1"}},
    "another version": {"headers": {"anthropic_version": "2026-10-21"}},
}


@pytest.mark.parametrize("how", SAME)
def test_a_request_that_differs_only_in_spelling_is_the_same(how: str, member: Member) -> None:
    assert (verdict(ask(member)), verdict(ask(member, **SAME[how]))) == ("miss", "hit")


@pytest.mark.parametrize("how", OTHER)
def test_a_request_that_differs_in_anything_else_is_another(how: str, member: Member) -> None:
    assert (verdict(ask(member)), verdict(ask(member, **OTHER[how]))) == ("miss", "miss")


def test_a_beta_in_a_header_of_its_own_counts_as_well(member: Member, canned: CannedUpstream) -> None:
    def ask_with(*betas: str) -> str:
        headers = [*member.caller.headers().items(), *(("anthropic-beta", beta) for beta in betas)]
        with member.caller.http() as client:
            answer = client.post("/v1/messages", json=asking("hello"), headers=headers)
        return str(answer.headers["x-bulkhead-cache"])

    assert [ask_with("one"), ask_with("one", "two"), ask_with("two, one")] == ["miss", "miss", "hit"]
    assert canned.seen[-1].headers["anthropic-beta"] == "one, two"


def test_nobody_gets_what_was_made_for_somebody_else(gateway: Gateway, canned: CannedUpstream) -> None:
    for member in (join(gateway), join(gateway)):
        assert verdict(ask(member)) == "miss"
    assert len(canned.seen) == 2


# -- past the cache

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
PAST: dict[str, tuple[str, Json]] = {
    "the client wants a fresh one": ("no_store", {"headers": {"cache_control": "no-store"}}),
    "a picture that lies elsewhere": ("remote_source", {"prompt": [{"role": "user", "content": [IMAGE]}]}),
    "a container": ("server_tools", {"container": "c-1"}),
    "tools of the upstream": (
        "server_tools",
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ),
    "only to warm": ("max_tokens_zero", {"max_tokens": 0}),
    "too large": ("too_large", {"prompt": "x" * (1024 * 1024 + 1)}),
    "tools that the gateway runs": ("tools", {"tools": [BASH]}),
    "tools that the client runs": ("tools", {"tools": [ASK]}),
    "tools that the gateway runs, streamed": ("tools", {"tools": [BASH], "stream": True}),
}


@pytest.mark.parametrize("case", PAST)
def test_what_may_not_come_from_memory_is_asked_again_and_says_why(
    case: str, member: Member, canned: CannedUpstream
) -> None:
    reason, fields = PAST[case]
    for _ in range(2):
        answer = ask(member, **fields)
        assert (answer.status, verdict(answer)) == (200, f"bypass; reason={reason}")
    assert len(canned.seen) == 2
    told = stats(member)
    assert (told["bypassed"], told["entries"]) == ({reason: 2}, 0)


def test_a_gateway_without_the_cache_does_not_speak_of_it(
    tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream
) -> None:
    variables = {**VARIABLES, "PROMPT_CACHE_ENABLED": "false"}
    with serving(tmp_path_factory.mktemp("off"), canned.url, **variables) as off:
        member = join(off)
        answers = [ask(member, stream=True) for _ in range(2)]
    assert [verdict(answer) for answer in answers] == ["", ""]
    assert len(canned.seen) == 2


# -- what is not kept

UNKEPT: dict[str, Canned] = {
    "a refusal by status": Canned([OVERLOADED], 529, JSON),
    "a stream that broke": Canned(streamed("Hello.")[:3], cut=True),
    "an error event": Canned([*streamed("Hello.")[:3], event("error", OVERLOADED.decode())]),
    "the model's refusal": Canned([part.replace(b"end_turn", b"refusal") for part in streamed("Hello.")]),
    "nothing said": Canned([streamed("")[0], *streamed("")[4:]]),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", UNKEPT)
def test_an_answer_that_is_not_whole_is_not_kept(
    case: str, stream: bool, member: Member, canned: CannedUpstream
) -> None:
    canned.answer = UNKEPT[case]
    ask(member, stream=stream)
    canned.answer = Canned(streamed("Hello."))
    again = ask(member, stream=stream)
    assert (verdict(again), again.texts) == ("miss", ["Hello."])
    assert len(canned.seen) == 2
    assert verdict(ask(member)) == "hit"


def test_an_answer_grows_old(tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream) -> None:
    variables = {**VARIABLES, "PROMPT_CACHE_TTL_MS": "400", "PROMPT_CACHE_MAX_ENTRIES": "2"}
    with serving(tmp_path_factory.mktemp("short"), canned.url, **variables) as short:
        member = join(short, session=None)
        assert verdict(ask(member)) == "miss"
        until(lambda: verdict(ask(member)) == "miss", "the answer to be too old", 15)
        for prompt in ("one", "two", "three"):
            ask(member, prompt=prompt)
        told = stats(member)
    assert told["entries"] <= 2
    assert (told["ttl_seconds"], told["max_entries"]) == (0.4, 2)


def test_a_purge_forgets_what_is_kept_and_what_is_being_made(member: Member, canned: CannedUpstream) -> None:
    ask(member)
    gate = threading.Event()
    canned.answers = {"slow": Canned(streamed("Slow."), head=gate)}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, member, prompt="slow")
        until(lambda: canned.asked("slow"), "the second request upstream")
        assert member.caller.request("DELETE", "/api/cache").json() == {"subject": member.subject, "purged": 1}
        gate.set()
        assert slow.result().texts == ["Slow."]
    canned.answers = {}
    assert [verdict(ask(member, prompt=prompt)) for prompt in ("hello", "slow")] == ["miss", "miss"]


# -- the same at once


def posting(pool: ThreadPoolExecutor, member: Member, stream: bool) -> Future[Answer]:
    """A request by a client that comes again when it is told that too many run."""

    def patiently() -> Answer:
        return until(lambda: answer if (answer := ask(member, stream=stream)).status != 429 else None, "a place")

    return pool.submit(patiently)


def all_busy(member: Member) -> bool:
    """Whether every place of the key is taken: one more request is sent away."""
    return ask(member, prompt="is there room", headers={"cache_control": "no-store"}).status == 429


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_same_request_at_once_is_made_once(stream: bool, gateway: Gateway, canned: CannedUpstream) -> None:
    member = join_limited(gateway, concurrent_requests=4)
    gate = threading.Event()
    canned.answers = {"is there room": canned.answer, "": Canned(streamed("Hello."), head=gate)}
    with ThreadPoolExecutor(4) as pool:
        running = [posting(pool, member, stream) for _ in range(4)]
        until(lambda: all_busy(member), "all four to run")
        assert len(canned.asked('"hello"')) == 1
        gate.set()
        answers = [done.result() for done in running]
    assert sorted(verdict(answer) for answer in answers) == ["hit", "hit", "hit", "miss"]
    assert [answer.texts for answer in answers] == [["Hello."]] * 4
    assert len({answer.message["id"] for answer in answers}) == 4
    assert len(canned.asked('"hello"')) == 1
    assert {name: stats(member)[name] for name in ("hits", "joined", "misses", "kept")} == {
        "hits": 3,
        "joined": 3,
        "misses": 1,
        "kept": 1,
    }


@pytest.mark.parametrize("end", ["leaves", "fails"])
def test_who_waited_for_a_request_that_came_to_nothing_asks_alone(
    end: str, gateway: Gateway, canned: CannedUpstream
) -> None:
    member = join_limited(gateway, concurrent_requests=2)
    gate = threading.Event()
    failing = Canned([OVERLOADED], 529, JSON, head=gate)
    canned.answers = {"is there room": canned.answer, "": failing}
    with ThreadPoolExecutor(1) as pool:
        with raw_post(member.caller, asking("hello")):
            until(lambda: canned.asked('"hello"'), "the first request upstream")
            waiting = posting(pool, member, False)
            until(lambda: all_busy(member), "the second request to wait")
            canned.answers = {}
            if end == "fails":
                gate.set()
                assert waiting.result().texts == ["Hello."]
        answer = waiting.result()
    assert (answer.status, verdict(answer), answer.texts) == (200, "miss", ["Hello."])
    assert len(canned.asked('"hello"')) == 2
    assert verdict(ask(member)) == "hit"


# -- spare upstreams


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "spare_model",
    [
        pytest.param("lesser-model", id="another model"),
        pytest.param(
            "first-model",
            id="the same model",
        ),
    ],
)
def test_what_a_spare_upstream_answered_is_not_kept(
    spare_model: str,
    stream: bool,
    tmp_path_factory: pytest.TempPathFactory,
    canned: CannedUpstream,
) -> None:
    folder = tmp_path_factory.mktemp("spare")
    each = {"kind": "anthropic", "credential": {"env": "KEY"}, "attempts": 1, "breaker_failures": 0}
    with canned_upstream() as spare:
        spare.answer = Canned(streamed("From the spare.", model=spare_model))
        plan = {
            "upstreams": {"first": {"url": canned.url, **each}, "spare": {"url": spare.url, **each}},
            "models": {
                "claude-test": {
                    "upstream": "first",
                    "model": "first-model",
                    "fallback": [{"upstream": "spare", "model": spare_model}],
                }
            },
        }
        (folder / "upstreams.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
        variables = {**VARIABLES, "BULKHEAD_UPSTREAMS": str(folder / "upstreams.yaml"), "KEY": "secret"}
        with serving(folder, "http://127.0.0.1:9", **variables) as running:
            member = join(running, session=None)
            canned.answer = Canned([OVERLOADED], 529, JSON)
            assert ask(member, stream=stream).texts == ["From the spare."]
            canned.answer = Canned(streamed("From the first.", model="first-model"))
            answers = [ask(member, stream=stream) for _ in range(2)]
    assert [(verdict(answer), answer.texts) for answer in answers] == [
        ("miss", ["From the first."]),
        ("hit", ["From the first."]),
    ]
    assert json.loads(canned.seen[-1].body)["model"] == "first-model"
