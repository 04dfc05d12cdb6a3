"""The router over upstreams in memory: order, retries, breakers, slots, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from routing_fakes import FakeProvider, FakeRelay

from gateway.messages.errors import InvalidRequest
from gateway.providers.base import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamTimeout,
)
from gateway.routing.attempts import GatewayHeldBack
from gateway.routing.breaker import Breaker
from gateway.routing.route import ModelRoute, Routes, Target
from gateway.routing.router import RelayEnded, Router
from gateway.routing.slots import Slots
from gateway.routing.upstream import Upstream

OVERLOADED = UpstreamError(529, "overloaded_error", "Overloaded")
LIMITED = UpstreamError(429, "rate_limit_error", "Slow down", retry_after="60")
WRONG = UpstreamError(400, "invalid_request_error", "max_tokens: too large")
MISSING = UpstreamError(404, "not_found_error", "model: small")
BROKEN = UpstreamBroken("reset")
ASKED = UpstreamRequest(b'{"model": "m", "max_tokens": 128000, "messages": []}', {"anthropic-version": "1"}, "req_1")


class Time:
    """A clock that only moves when the router sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def router_of(
    time: Time,
    *providers: FakeProvider,
    attempts: int = 3,
    failures: int = 0,
    slots: Slots | None = None,
    patience: float = 900,
    max_tokens: int | None = None,
) -> Router:
    """`m` leads to every provider in turn: `m` at the first, `m-NAME` at the others."""
    upstreams = [
        Upstream(provider, attempts=attempts, breaker=Breaker(failures, rest=15, clock=time), slots=slots)
        for provider in providers
    ]
    targets = [Target(provider.name, "m" if not at else f"m-{provider.name}") for at, provider in enumerate(providers)]
    routes = Routes([ModelRoute("m", tuple(targets), "", max_tokens)], [one.name for one in providers])
    return Router(upstreams, routes, patience=patience, clock=time, sleep=time.sleep, chance=lambda: 0.5)


async def answer(router: Router, request: UpstreamRequest = ASKED, skip: int = 0) -> tuple[str, int, list[str]]:
    async with router.stream(request, skip=skip) as stream:
        return stream.target.upstream, stream.attempts, [event.name async for event in stream]


def models_asked(provider: FakeProvider) -> list[str]:
    return [request.model for request in provider.asked]


async def test_the_first_target_answers_and_gets_the_request_as_it_is(time: Time) -> None:
    one, two = FakeProvider("one", ["message_start", "message_stop"]), FakeProvider("two")
    router = router_of(time, one, two)
    async with router.stream(ASKED) as stream:
        assert stream.headers == {"request-id": "req-one"}
        assert stream.target == Target("one", "m")
    assert one.asked == [ASKED]
    assert two.asked == []


async def test_passing_trouble_is_retried_with_growing_waits(time: Time) -> None:
    one = FakeProvider("one", OVERLOADED, BROKEN, "message_stop")
    assert await answer(router_of(time, one)) == ("one", 3, ["message_stop"])
    assert time.slept == [0.25, 0.5]


async def test_a_short_named_wait_is_kept(time: Time) -> None:
    one = FakeProvider("one", UpstreamError(429, "rate_limit_error", "Slow", retry_after="2"), "message_stop")
    await answer(router_of(time, one))
    assert time.slept == [pytest.approx(2.1)]


async def test_a_longer_named_wait_is_the_clients_to_keep(time: Time) -> None:
    one = FakeProvider("one", UpstreamError(429, "rate_limit_error", "Slow", retry_after="7"))
    with pytest.raises(UpstreamError) as caught:
        await answer(router_of(time, one))
    assert (caught.value.answer.status, caught.value.answer.headers["retry-after"]) == (429, "7")
    assert (len(one.asked), time.slept) == (1, [])


@pytest.mark.parametrize("trouble", [OVERLOADED, LIMITED, BROKEN, MISSING, UpstreamTimeout("silent")])
async def test_the_next_target_answers_under_its_own_model_name(time: Time, trouble: UpstreamFailure) -> None:
    one, two = FakeProvider("one", trouble), FakeProvider("two")
    upstream, attempts, _ = await answer(router_of(time, one, two))
    assert (upstream, attempts) == ("two", len(one.asked) + 1)
    assert models_asked(two) == ["m-two"]
    assert two.asked[0].body == ASKED.body


async def test_a_refusal_of_the_request_goes_to_the_client_at_once(time: Time) -> None:
    one, two = FakeProvider("one", WRONG), FakeProvider("two")
    with pytest.raises(UpstreamError) as caught:
        await answer(router_of(time, one, two))
    assert caught.value is WRONG
    assert (len(one.asked), len(two.asked), time.slept) == (1, 0, [])


CANNOT = InvalidRequest("messages.0.content.0.source.type: url sources are not supported")


async def test_what_only_a_spare_cannot_be_asked_does_not_hide_the_first_failure(time: Time) -> None:
    one, two, three = FakeProvider("one", LIMITED), FakeProvider("two", CANNOT), FakeProvider("three")
    assert (await answer(router_of(time, one, two, three)))[0] == "three"
    with pytest.raises(UpstreamError) as caught:
        await answer(router_of(time, one, two))
    assert caught.value is LIMITED
    with pytest.raises(InvalidRequest):
        await answer(router_of(time, two, three))


async def test_when_all_fail_the_client_gets_the_most_helpful_failure_with_its_wait(time: Time) -> None:
    router = router_of(time, FakeProvider("one", OVERLOADED), FakeProvider("two", LIMITED), FakeProvider("3", MISSING))
    with pytest.raises(UpstreamError) as caught:
        await answer(router)
    assert caught.value.answer.headers["retry-after"] == "60"


async def test_nothing_is_repeated_after_the_first_byte(time: Time) -> None:
    one, two = FakeProvider("one", ["message_start", BROKEN]), FakeProvider("two")
    router = router_of(time, one, two)
    seen = []
    with pytest.raises(UpstreamBroken):
        async with router.stream(ASKED) as stream:
            async for event in stream:
                seen.append(event.name)
    assert (seen, len(one.asked), two.asked, one.open) == (["message_start"], 1, [], 0)
    (status, _) = router.status()
    assert (status.in_flight, status.last_error) == (0, "reset")


async def test_patience_bounds_all_attempts_together(time: Time) -> None:
    router = router_of(time, FakeProvider("one", OVERLOADED), attempts=10, patience=1.0)
    with pytest.raises(UpstreamError):
        await answer(router)
    assert sum(time.slept) < 1.0


async def test_an_upstream_that_never_begins_its_answer_is_given_up(time: Time) -> None:
    one = FakeProvider("one", asyncio.Event())
    router = router_of(time, one, patience=0.01)
    with pytest.raises(UpstreamTimeout):
        await answer(router)
    assert (one.open, router.status()[0].in_flight) == (0, 0)


async def test_an_upstream_that_keeps_failing_is_left_alone_and_then_tried_by_one(time: Time) -> None:
    one, two = FakeProvider("one", *[BROKEN] * 6, "message_stop"), FakeProvider("two")
    router = router_of(time, one, two, failures=6)
    await answer(router)
    await answer(router)
    assert (len(one.asked), router.status()[0].breaker) == (6, "open")
    await answer(router)
    assert (len(one.asked), len(two.asked)) == (6, 3)
    time.now += 15
    assert (await answer(router))[0] == "one"
    assert router.status()[0].breaker == "closed"


async def test_only_one_request_tries_an_upstream_that_was_left_alone(time: Time) -> None:
    came = asyncio.Event()
    one, two = FakeProvider("one", BROKEN, came), FakeProvider("two")
    router = router_of(time, one, two, attempts=1, failures=1)
    await answer(router)
    time.now += 15
    probe = asyncio.create_task(answer(router))
    await asyncio.sleep(0)
    assert (await answer(router))[0] == "two"
    came.set()
    assert (await probe)[0] == "one"
    assert len(one.asked) == 2


async def test_a_lone_upstream_that_is_left_alone_is_told_as_overload_with_the_time(time: Time) -> None:
    router = router_of(time, FakeProvider("one", BROKEN), attempts=1, failures=1)
    with pytest.raises(UpstreamBroken):
        await answer(router)
    time.now += 5
    with pytest.raises(GatewayHeldBack) as caught:
        await answer(router)
    assert (caught.value.answer.status, caught.value.answer.headers["retry-after"]) == (529, "10")


async def test_refusals_do_not_open_a_breaker(time: Time) -> None:
    router = router_of(time, FakeProvider("one", WRONG), failures=1)
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await answer(router)
        assert caught.value is WRONG


async def test_a_full_upstream_makes_room_for_the_next(time: Time) -> None:
    one, two = FakeProvider("one", asyncio.Event()), FakeProvider("two")
    slots = Slots("one", 1, patience=0.01)
    first, second = Upstream(one, slots=slots), Upstream(two)
    routes = Routes([ModelRoute("m", (Target("one", "m"), Target("two", "m")))], ["one", "two"])
    router = Router([first, second], routes, clock=time, sleep=time.sleep)
    waiting = asyncio.create_task(answer(router))
    await asyncio.sleep(0)
    assert slots.taken == 1
    assert (await answer(router))[:2] == ("two", 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (slots.taken, slots.waiting, one.open) == (0, 0, 0)


async def test_a_client_that_leaves_while_its_answer_runs_leaves_nothing_behind(time: Time) -> None:
    one = FakeProvider("one", ["message_start"])
    router = router_of(time, one)
    began = asyncio.Event()

    async def reading() -> None:
        async with router.stream(ASKED):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(reading())
    await began.wait()
    assert (router.status()[0].in_flight, one.open) == (1, 1)
    task.cancel()
    await asyncio.wait({task})
    assert (router.status()[0].in_flight, one.open) == (0, 0)


async def test_a_trial_whose_client_leaves_does_not_keep_the_upstream_shut(time: Time) -> None:
    one = FakeProvider("one", BROKEN, asyncio.Event(), "message_stop")
    router = router_of(time, one, attempts=1, failures=1)
    with pytest.raises(UpstreamBroken):
        await answer(router)
    time.now += 15
    task = asyncio.create_task(answer(router))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (await answer(router))[0] == "one"


async def test_max_tokens_is_capped_where_the_model_has_a_cap(time: Time) -> None:
    one = FakeProvider("one")
    await answer(router_of(time, one, max_tokens=4096))
    assert b'"max_tokens":4096' in one.asked[0].body


async def test_a_name_that_is_not_offered_is_refused_before_any_upstream(time: Time) -> None:
    one = FakeProvider("one")
    router = router_of(time, one)
    for request in (UpstreamRequest(b'{"model": "other"}'), UpstreamRequest(b"{}", model="other")):
        with pytest.raises(InvalidRequest):
            await answer(router, request)
        with pytest.raises(InvalidRequest):
            router.relays(request)
    assert one.asked == []


# Relaying


async def relayed(router: Router, request: UpstreamRequest = ASKED) -> tuple[str, bytes]:
    async with router.relay(request) as stream:
        assert stream.content_type == "text/event-stream"
        return stream.target.upstream, b"".join([piece async for piece in stream])


async def test_bytes_are_relayed_by_the_first_target_that_takes_them(time: Time) -> None:
    one = FakeRelay("one", OVERLOADED, ["a", "b"])
    router = router_of(time, one)
    assert router.relays(ASKED)
    assert await relayed(router) == ("one", b"ab")
    assert one.asked[1] is not None
    assert len(one.asked) == 2


@pytest.mark.parametrize(
    ("providers", "body", "yes"),
    [
        ([FakeRelay("one")], b'{"model": "m"}', True),
        ([FakeRelay("one")], b'{"model": "m", "adapt": 1}', False),
        ([FakeProvider("one"), FakeRelay("two")], b'{"model": "m"}', False),
        ([FakeRelay("one"), FakeProvider("two")], b'{"model": "m"}', True),
    ],
)
async def test_whether_a_request_is_relayed_is_the_first_targets_word(
    time: Time, providers: Sequence[FakeProvider], body: bytes, yes: bool
) -> None:
    assert router_of(time, *providers).relays(UpstreamRequest(body)) is yes


async def test_a_target_that_is_left_alone_has_no_say(time: Time) -> None:
    one, two = FakeRelay("one", BROKEN), FakeProvider("two")
    router = router_of(time, one, two, attempts=1, failures=1)
    assert router.relays(ASKED)
    await answer(router)
    assert not router.relays(ASKED)


async def test_relaying_ends_where_the_next_target_needs_another_body(time: Time) -> None:
    one, two = FakeRelay("one", LIMITED), FakeProvider("two")
    router = router_of(time, one, two)
    with pytest.raises(RelayEnded) as caught:
        await relayed(router)
    assert caught.value.answer is LIMITED.answer
    assert await answer(router, skip=caught.value.tried) == ("two", 1, ["message_stop"])
    assert len(one.asked) == 1


@pytest.mark.parametrize("spare", [MISSING, CANNOT])
async def test_what_failed_as_bytes_counts_when_the_rest_fails_as_events(
    time: Time, spare: UpstreamFailure | InvalidRequest
) -> None:
    router = router_of(time, FakeRelay("one", LIMITED), FakeProvider("two", spare))
    with pytest.raises(RelayEnded) as ended:
        await relayed(router)
    with pytest.raises(UpstreamError) as caught:
        async with router.stream(ASKED, skip=ended.value.tried, failed=ended.value.failures):
            pass
    assert caught.value is LIMITED


async def test_a_relay_that_fails_at_its_last_target_tells_that_failure(time: Time) -> None:
    with pytest.raises(UpstreamError) as caught:
        await relayed(router_of(time, FakeRelay("one", LIMITED)))
    assert caught.value is LIMITED


# Counting, listing, closing


async def test_tokens_are_counted_by_the_first_available_target(time: Time) -> None:
    one, two = FakeProvider("one", BROKEN), FakeProvider("two")
    one.count, two.count = 11, 22
    router = router_of(time, one, two, attempts=1, failures=1)
    assert await router.count_tokens(ASKED) == 11
    await answer(router)
    assert await router.count_tokens(ASKED) == 22
    assert two.counted[0].model == "m-two"


@pytest.mark.parametrize("failure", [OVERLOADED, BROKEN, MISSING, LIMITED, None])
async def test_a_count_that_cannot_be_had_is_none(time: Time, failure: UpstreamFailure | None) -> None:
    one = FakeProvider("one")
    one.count = failure
    assert await router_of(time, one).count_tokens(ASKED) is None


async def test_a_count_that_the_upstream_refuses_for_the_request_is_told(time: Time) -> None:
    one = FakeProvider("one")
    one.count = WRONG
    with pytest.raises(UpstreamError) as caught:
        await router_of(time, one).count_tokens(ASKED)
    assert caught.value is WRONG


async def test_closing_closes_every_provider(time: Time) -> None:
    one, two = FakeProvider("one"), FakeProvider("two")
    await router_of(time, one, two).aclose()
    assert (one.closed, two.closed) == (1, 1)
