"""The prompt cache: what may be answered from memory, what counts as the same request, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache import REASONS, Place, PromptCache, cache_key, decide
from gateway.cache import prompt_cache as room
from gateway.messages.assemble import Assembler
from gateway.messages.grammar import Grammar
from gateway.messages.request import MessagesRequest

Json = dict[str, Any]

BASE: Json = {"model": "claude-opus-4-8", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
USAGE = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 0}


def parsed(body: Json) -> MessagesRequest:
    return MessagesRequest.parse(json.dumps(body).encode())


def answer(text: str = "hi", **fields: Any) -> Json:
    message: Json = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-8",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return {**message, **fields}


# -- the decision


def media(source: Json) -> list[Json]:
    return [{"role": "user", "content": [{"type": "image", "source": source}]}]


@pytest.mark.parametrize(
    ("fields", "headers", "reason"),
    [
        ({}, {}, "eligible"),
        ({"tools": []}, {}, "eligible"),
        ({"tools": None, "thread": None, "mcp_servers": []}, {}, "eligible"),
        ({}, {"cache-control": "max-age=0, No-Cache"}, "no_store"),
        ({}, {"cache-control": "no-store"}, "no_store"),
        ({}, {"cache-control": "max-age=5"}, "eligible"),
        ({"tools": [{"name": "Bash", "input_schema": {"type": "object"}}]}, {}, "tools"),
        ({"tools": [{"type": "custom", "name": "Bash", "input_schema": {"type": "object"}}]}, {}, "tools"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {}, "server_tools"),
        ({"tools": [{"type": "tool_of_tomorrow_20270101", "name": "odd"}]}, {}, "server_tools"),
        ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, {}, "server_tools"),
        ({"container": "c1"}, {}, "server_tools"),
        ({"thread": {"type": "create"}}, {}, "thread"),
        ({"max_tokens": 0}, {}, "max_tokens_zero"),
        ({"messages": [{"role": "user", "content": "x" * 2_000_000}]}, {}, "too_large"),
        ({"messages": media({"type": "url", "url": "https://x/y.png"})}, {}, "remote_source"),
        ({"messages": media({"type": "file", "file_id": "f1"})}, {}, "remote_source"),
        ({"messages": media({"type": "base64", "media_type": "image/png", "data": "AA=="})}, {}, "eligible"),
        ({"messages": [{"role": "user", "content": 'the words "url" and "file_id"'}]}, {}, "eligible"),
    ],
)
def test_a_request_is_judged_with_a_reason(fields: Json, headers: dict[str, str], reason: str) -> None:
    request = parsed({**BASE, **fields})
    decision = decide(request, enabled=True, gateway_runs_tools=False, headers=headers)
    assert (decision.use, decision.reason) == (reason == "eligible", reason)
    assert decision.reason in REASONS
    expected = {} if decision.use else {"x-bulkhead-cache": f"bypass; reason={reason}"}
    assert decision.headers == expected


def test_a_source_deep_in_a_tool_result_is_found() -> None:
    inner = [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]
    content = [{"type": "tool_result", "tool_use_id": "t", "content": inner}]
    request = parsed({**BASE, "messages": [{"role": "user", "content": content}]})
    assert decide(request, enabled=True, gateway_runs_tools=False, headers={}).reason == "remote_source"


def test_tools_of_the_gateway_bypass_and_a_switched_off_cache_says_nothing() -> None:
    assert decide(parsed(BASE), enabled=True, gateway_runs_tools=True, headers={}).reason == "tools"
    off = decide(parsed(BASE), enabled=False, gateway_runs_tools=True, headers={})
    assert (off.use, off.reason, dict(off.headers)) == (False, "disabled", {})


# -- the name


def key(body: Json, headers: dict[str, str] | None = None, **places: str) -> bytes:
    named = {"subject": "alice", "target": "up/claude", "revision": "", **places}
    return cache_key(parsed(body), headers=headers or {}, **named)


def says(content: Any, role: str = "user") -> Json:
    return {**BASE, "messages": [{"role": role, "content": content}]}


MARK = {"cache_control": {"type": "ephemeral"}}
ATTRIBUTION = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.abc;"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BASE, {**BASE, "stream": True}),
        (BASE, dict(reversed(BASE.items()))),
        (BASE, {**BASE, "metadata": {"user_id": "somebody"}}),
        (BASE, {**BASE, "system": None, "stop_sequences": None}),
        (BASE, {**BASE, **MARK}),
        (BASE, says([{"type": "text", "text": "hello"}])),
        (BASE, says([{"text": "hello", "type": "text", **MARK}])),
        (BASE, says([{"text": "hello", "type": "text", "citations": None}])),
        ({**BASE, "system": "s"}, {**BASE, "system": [{"type": "text", "text": "s", **MARK}]}),
        (BASE, {**BASE, "system": [ATTRIBUTION]}),
        ({**BASE, "system": "s"}, {**BASE, "system": [ATTRIBUTION, {"type": "text", "text": "s"}]}),
        ({**BASE, "temperature": 1}, {**BASE, "temperature": 1.0}),
        (
            {**BASE, "thinking": {"type": "enabled", "budget_tokens": 1024}},
            {**BASE, "thinking": {"budget_tokens": 1024, "type": "enabled"}},
        ),
        (
            says([{"type": "tool_result", "tool_use_id": "t", "content": "r"}]),
            says([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r", **MARK}]}]),
        ),
    ],
)
def test_differences_of_spelling_are_one_request(one: Json, other: Json) -> None:
    assert key(one) == key(other)


def test_white_space_and_escapes_of_the_body_do_not_count() -> None:
    loose = json.dumps(says("h\u00e9llo"), indent=4).encode()
    tight = json.dumps(says("h\u00e9llo"), ensure_ascii=False, separators=(",", ":")).encode()
    names = [
        cache_key(MessagesRequest.parse(body), subject="a", target="t", revision="", headers={})
        for body in (loose, tight)
    ]
    assert names[0] == names[1]


def test_the_order_of_betas_does_not_count_but_each_of_them_does() -> None:
    assert key(BASE, {"anthropic-beta": "a, b"}) == key(BASE, {"anthropic-beta": "b,a,"})
    assert key(BASE, {"anthropic-beta": "a"}) != key(BASE)
    assert key(BASE, {"anthropic-version": "2026-10-21"}) != key(BASE, {"anthropic-version": "2023-06-01"})
    assert key(BASE, {"user-agent": "x", "cache-control": "max-age=1"}) == key(BASE)


DIFFERENT: list[Json] = [
    BASE,
    {**BASE, "model": "claude-opus-4-7"},
    {**BASE, "max_tokens": 101},
    {**BASE, "system": "s"},
    {**BASE, "system": "s2"},
    {**BASE, "system": [{"type": "text", "text": "s"}, ATTRIBUTION]},
    {**BASE, "temperature": 0.5},
    {**BASE, "temperature": 0},
    {**BASE, "top_p": 0.5},
    {**BASE, "top_k": 5},
    {**BASE, "stop_sequences": ["a", "b"]},
    {**BASE, "stop_sequences": ["b", "a"]},
    {**BASE, "thinking": {"type": "adaptive"}},
    {**BASE, "output_config": {"effort": "low"}},
    {**BASE, "output_config": {"format": {"type": "json_schema", "schema": {"properties": {"a": {}, "b": {}}}}}},
    {**BASE, "output_config": {"format": {"type": "json_schema", "schema": {"properties": {"b": {}, "a": {}}}}}},
    {**BASE, "context_management": {"edits": []}},
    {**BASE, "a_field_of_tomorrow": 1},
    {**BASE, "a_field_of_tomorrow": True},
    says("hello "),
    says([{"type": "text", "text": "hello"}, {"type": "text", "text": ""}]),
    says([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]),
    says([{"type": "text", "text": "hello", "a_field_of_tomorrow": 1}]),
    {**BASE, "messages": [*BASE["messages"], {"role": "assistant", "content": "hello"}]},
    {**BASE, "messages": [*BASE["messages"], {"role": "user", "content": "hello"}]},
    {**BASE, "messages": [*BASE["messages"], {"role": "system", "content": [], "output_config": {"effort": "low"}}]},
    says([{"type": "tool_use", "id": "t", "name": "n", "input": {"cache_control": 1}}]),
    says([{"type": "tool_use", "id": "t", "name": "n", "input": {}}]),
    says([{"type": "tool_result", "tool_use_id": "t", "content": "r"}]),
    says([{"type": "tool_result", "tool_use_id": "t", "content": "r", "is_error": True}]),
]


def test_requests_that_mean_something_else_have_other_names() -> None:
    names = [key(body) for body in DIFFERENT]
    assert len(set(names)) == len(names)


def test_who_asks_what_is_asked_and_the_state_of_the_workspace_are_in_the_name() -> None:
    names = {
        key(BASE),
        key(BASE, subject="bob"),
        key(BASE, target="other/claude"),
        key(BASE, revision="r1"),
        key(BASE, subject="alice\x00up", target="claude"),
    }
    assert len(names) == 5


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=4), VALUES, max_size=3))
def test_any_request_has_a_name_and_the_same_one_again(fields: Json) -> None:
    body = {**BASE, "extra": fields}
    assert key(body) == key(json.loads(json.dumps(body)))


# -- keeping


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PromptCache:
    return PromptCache(max_entries=3, ttl_seconds=60, max_bytes=100_000, clock=clock)


async def put(cache: PromptCache, name: bytes, message: Json | None = None, subject: str = "alice") -> bool:
    with await cache.seek(name, subject) as place:
        assert place.hit is None
        return place.keep(message or answer())


async def found(cache: PromptCache, name: bytes, subject: str = "alice") -> Json | None:
    with await cache.seek(name, subject) as place:
        return None if place.hit is None else place.hit.message()


async def test_a_kept_answer_comes_back_with_its_usage_under_a_fresh_id(cache: PromptCache, clock: Clock) -> None:
    assert await put(cache, b"k")
    clock.now += 12.7
    with await cache.seek(b"k", "alice") as place:
        assert place.hit is not None
        first, second = place.hit.message(), place.hit.message()
        assert dict(place.headers) == {"x-bulkhead-cache": "hit", "age": "12"}
    assert {**first, "id": ""} == {**second, "id": ""} == {**answer(), "id": ""}
    assert len({"msg_1", first["id"], second["id"]}) == 3 and first["id"].startswith("msg_")
    assert first["usage"] == USAGE


async def test_a_hit_replays_as_a_stream_that_assembles_to_the_same_message(cache: PromptCache) -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "hello", "citations": [{"type": "char_location", "cited_text": "x"}]},
    ]
    edits = {"applied_edits": [{"type": "clear_thinking_20251015"}]}
    await put(cache, b"k", answer(content=content, context_management=edits))
    with await cache.seek(b"k", "alice") as place:
        assert place.hit is not None
        events = list(place.hit.events())
    grammar, assembler = Grammar(), Assembler()
    for event in events:
        grammar.check(event)
        assembler.feed(event)
    assert grammar.finished
    assert {**assembler.message, "id": ""} == {**answer(content=content, context_management=edits), "id": ""}
    assert "context_management" not in events[0].data["message"], "the API tells it at the end"
    assert events[-2].data["context_management"] == edits


@pytest.mark.parametrize(
    "message",
    [
        answer(stop_reason="tool_use"),
        answer(stop_reason="refusal"),
        answer(stop_reason="pause_turn"),
        answer(stop_reason="model_context_window_exceeded"),
        answer(stop_reason=None),
        answer(content=[]),
        answer(content="hello"),
        answer(content=[{"type": "tool_use", "id": "t", "name": "n", "input": {}}]),
        answer(content=[{"type": "text", "text": "x"}, {"type": "server_tool_use", "id": "t"}]),
        answer(content=[{"type": "text", "text": "x"}, "text"]),
        answer(type="error"),
        {},
    ],
)
async def test_what_is_no_whole_answer_is_not_kept(cache: PromptCache, message: Json) -> None:
    with await cache.seek(b"k", "alice") as place:
        assert not place.keep(message)
    assert await found(cache, b"k") is None
    assert cache.stats().refused == 1


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence", "max_tokens"])
async def test_whole_answers_are_kept(cache: PromptCache, reason: str) -> None:
    assert await put(cache, b"k", answer(stop_reason=reason))
    assert await found(cache, b"k") is not None


async def test_answers_are_forgotten_when_their_time_is_over(cache: PromptCache, clock: Clock) -> None:
    await put(cache, b"k")
    clock.now += 59.9
    assert await found(cache, b"k") is not None
    clock.now += 0.2
    assert await found(cache, b"k") is None
    assert (cache.stats().entries, cache.stats().evicted) == (0, 0)


async def test_the_answer_unused_for_longest_makes_room(cache: PromptCache) -> None:
    for name in (b"a", b"b", b"c"):
        await put(cache, name)
    await found(cache, b"a")
    await put(cache, b"d")
    assert [await found(cache, name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert (cache.stats().entries, cache.stats().evicted) == (3, 1)


async def test_bytes_are_bounded_too(clock: Clock) -> None:
    cache = PromptCache(max_entries=1000, ttl_seconds=60, max_bytes=10_000, clock=clock)
    assert not await put(cache, b"huge", answer("x" * 10_000))
    for number in range(50):
        assert await put(cache, str(number).encode(), answer("x" * 2000))
        assert cache.stats().bytes <= 10_000
    assert 0 < cache.stats().entries < 5
    assert await found(cache, b"49") is not None


async def test_a_cache_of_no_entries_keeps_nothing(clock: Clock) -> None:
    cache = PromptCache(max_entries=0, ttl_seconds=60, max_bytes=10_000, clock=clock)
    assert not await put(cache, b"k")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4000), st.integers(0, 30)), max_size=40))
def test_the_bounds_hold_whatever_is_kept(steps: list[tuple[int, int, int]]) -> None:
    async def walk() -> None:
        clock = Clock()
        cache = PromptCache(max_entries=4, ttl_seconds=60, max_bytes=9000, clock=clock)
        for name, size, pause in steps:
            clock.now += pause
            with await cache.seek(bytes([name]), "alice") as place:
                if place.hit is None:
                    place.keep(answer("x" * size))
            stats = cache.stats()
            assert stats.entries <= 4 and 0 <= stats.bytes <= 9000
            assert stats.hits + stats.misses <= len(steps)

    asyncio.run(walk())


# -- the same request several times at once


async def waiting(cache: PromptCache, count: int, name: bytes = b"k") -> list[asyncio.Task[Place]]:
    """Requests that wait for the leader's answer."""
    tasks = [asyncio.create_task(cache.seek(name, "alice")) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_the_same_requests_at_once_are_made_once(cache: PromptCache) -> None:
    leader = await cache.seek(b"k", "alice")
    followers = await waiting(cache, 5)
    assert not any(task.done() for task in followers)
    with leader:
        leader.keep(answer("made once"))
    places = await asyncio.gather(*followers)
    assert all(place.hit is not None and place.hit.message()["content"][0]["text"] == "made once" for place in places)
    stats = cache.stats()
    assert (stats.misses, stats.hits, stats.joined, stats.kept) == (1, 5, 5, 1)


async def test_when_the_leader_fails_those_who_waited_go_on_their_own(cache: PromptCache) -> None:
    leader = await cache.seek(b"k", "alice")
    followers = await waiting(cache, 3)
    with pytest.raises(RuntimeError), leader:
        raise RuntimeError
    places = await asyncio.gather(*followers)
    assert [place.hit for place in places] == [None, None, None]
    for place in places:
        place.close()
    assert cache.stats().misses == 4
    assert await put(cache, b"k")


async def test_a_cancelled_leader_lets_the_others_go(cache: PromptCache) -> None:
    entered = asyncio.Event()

    async def lead() -> None:
        with await cache.seek(b"k", "alice"):
            entered.set()
            await asyncio.Event().wait()

    leading = asyncio.create_task(lead())
    await entered.wait()
    [follower] = await waiting(cache, 1)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    with await follower as place:
        assert place.hit is None and place.keep(answer("own"))


async def test_a_cancelled_follower_disturbs_nobody(cache: PromptCache) -> None:
    leader = await cache.seek(b"k", "alice")
    first, second = await waiting(cache, 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    with leader:
        assert leader.keep(answer())
    assert (await second).hit is not None


async def test_nobody_waits_for_ever(clock: Clock) -> None:
    cache = PromptCache(max_entries=3, ttl_seconds=60, max_bytes=100_000, wait_seconds=0.001, clock=clock)
    leader = await cache.seek(b"k", "alice")
    async with asyncio.timeout(30):
        follower = await cache.seek(b"k", "alice")
    assert follower.hit is None
    with follower:
        assert follower.keep(answer("own"))
    with leader:
        assert leader.keep(answer("late"))


async def test_only_so_many_wait_for_one_answer(cache: PromptCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FOLLOWERS", 2)
    with await cache.seek(b"k", "alice"):
        tasks = await waiting(cache, 3)
        assert sorted(task.done() for task in tasks) == [False, False, True]
    await asyncio.gather(*tasks)


async def test_another_subjects_waiting_and_counting_is_apart(cache: PromptCache) -> None:
    await put(cache, key(BASE), subject="alice")
    await put(cache, key(BASE, subject="bob"), subject="bob")
    await found(cache, key(BASE), "alice")
    cache.bypass("bob", "tools")
    alice, bob, everybody = cache.stats("alice"), cache.stats("bob"), cache.stats()
    assert (alice.entries, alice.hits, alice.bypassed) == (1, 1, {})
    assert (bob.entries, bob.hits, bob.bypassed) == (1, 0, {"tools": 1})
    assert (everybody.entries, everybody.misses) == (2, 2)
    assert cache.stats("nobody").entries == 0


# -- purging


@pytest.fixture(params=["alice", None])
def purged(request: pytest.FixtureRequest) -> Iterator[str | None]:
    yield request.param


async def test_a_purge_forgets_what_is_kept_and_what_is_being_made(cache: PromptCache, purged: str | None) -> None:
    await put(cache, b"a")
    running = await cache.seek(b"b", "alice")
    assert cache.purge(purged) == 1
    with running:
        assert not running.keep(answer()), "it may rest on what was to be forgotten"
    assert await found(cache, b"a") is None
    assert await found(cache, b"b") is None
    assert await put(cache, b"c")


async def test_a_purge_of_one_subject_leaves_the_others_alone(cache: PromptCache) -> None:
    await put(cache, b"a", subject="alice")
    await put(cache, b"b", subject="bob")
    running = await cache.seek(b"c", "bob")
    assert cache.purge("alice") == 1
    with running:
        assert running.keep(answer())
    assert await found(cache, b"b", "bob") is not None
    assert cache.purge("alice") == 0
