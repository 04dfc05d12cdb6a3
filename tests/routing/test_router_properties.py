"""Whatever upstreams do, a request ends in bounded tries and holds nothing afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from routing_fakes import Answer, FakeRelay

from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamRequest, UpstreamTimeout
from gateway.routing.breaker import Breaker
from gateway.routing.route import ModelRoute, Routes, Target
from gateway.routing.router import RelayEnded, Router
from gateway.routing.slots import Slots
from gateway.routing.upstream import Upstream

ATTEMPTS = 3
BODY = UpstreamRequest(b'{"model": "m"}')

failures = st.one_of(
    st.builds(
        lambda status, retry_after, should_retry: UpstreamError(
            status, "api_error", "no", retry_after=retry_after, should_retry=should_retry
        ),
        st.sampled_from([400, 401, 404, 413, 429, 500, 501, 503, 529]),
        st.sampled_from([None, "0", "1", "60", "soon"]),
        st.sampled_from([None, True, False]),
    ),
    st.just(UpstreamBroken("cut")),
    st.just(UpstreamTimeout("silent")),
)
answers: st.SearchStrategy[Answer] = st.one_of(
    failures, st.just("message_stop"), st.builds(lambda failure: ["message_start", failure], failures)
)


async def read_through(router: Router, relaying: bool) -> None:
    if relaying:
        try:
            async with router.relay(BODY) as raw:
                async for _ in raw:
                    pass
            return
        except RelayEnded as ended:
            async with router.stream(BODY, skip=ended.tried) as stream:
                async for _ in stream:
                    pass
    else:
        async with router.stream(BODY) as stream:
            async for _ in stream:
                pass


@settings(max_examples=150, deadline=None)
@given(
    scripts=st.lists(st.lists(answers, min_size=1, max_size=6), min_size=1, max_size=3),
    requests=st.integers(1, 4),
    breaker_failures=st.integers(0, 3),
    relaying=st.booleans(),
)
def test_every_request_ends_and_gives_everything_back(
    scripts: list[list[Answer]], requests: int, breaker_failures: int, relaying: bool
) -> None:
    asyncio.run(_run(scripts, requests, breaker_failures, relaying))


async def _run(scripts: list[list[Answer]], requests: int, breaker_failures: int, relaying: bool) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    clock: Callable[[], float] = lambda: now  # noqa: E731
    sleeping: Callable[[float], Awaitable[None]] = sleep
    providers = [FakeRelay(f"u{at}", *script) for at, script in enumerate(scripts)]
    upstreams = [
        Upstream(one, attempts=ATTEMPTS, breaker=Breaker(breaker_failures, clock=clock), slots=Slots(one.name, 2))
        for one in providers
    ]
    targets = tuple(Target(one.name, "m" if at != 1 else "other") for at, one in enumerate(providers))
    routes = Routes([ModelRoute("m", targets)], [one.name for one in providers])
    router = Router(upstreams, routes, clock=clock, sleep=sleeping, chance=lambda: 0.5)
    for _ in range(requests):
        before = [len(one.asked) for one in providers]
        try:
            await read_through(router, relaying)
        except UpstreamFailure as failure:
            assert failure.answer.status >= 400
        tries = [len(one.asked) - count for one, count in zip(providers, before, strict=True)]
        assert all(count <= ATTEMPTS for count in tries)
        assert sum(one.open for one in providers) == 0
        assert [(status.in_flight, status.waiting) for status in router.status()] == [(0, 0)] * len(providers)
    assert now < 900 * requests
