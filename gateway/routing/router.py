"""Many upstreams behind the seam of one: finds the route of a model and carries a request along it.

Implements `Provider` and `RelayProvider`. What to do after a failure is decided in `attempts`, where a name leads in
`route`; here it is only carried out. Must not know HTTP, credentials or what a body says beyond its model.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from gateway.messages.errors import InvalidRequest
from gateway.messages.events import Event
from gateway.providers.base import (
    RawStream,
    UpstreamError,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamStream,
)
from gateway.routing.attempts import Attempt, GatewayHeldBack, decide, told
from gateway.routing.cap import capped, model_in
from gateway.routing.catalogue import Catalogue
from gateway.routing.route import Route, Routes, Target
from gateway.routing.upstream import Call, Opening, Upstream, UpstreamStatus

__all__ = ["RelayEnded", "RoutedBytes", "RoutedStream", "Router"]

log = structlog.get_logger(__name__)

Stream = TypeVar("Stream")

COUNT_SECONDS = 15.0
"""For the upstream to count tokens; past it the caller makes its own estimate."""

_CLIENTS_FAULT = frozenset({400, 413})


class RelayEnded(UpstreamFailure):
    """`relay` used up every target that takes the bytes as they are; those that follow need `stream`.

    Internal between router and API: go on with `stream(request, skip=ended.tried, failed=ended.failures)`. Whoever
    does not, tells the client the most helpful of the failures, as for any other.
    """

    def __init__(self, failures: Sequence[UpstreamFailure], tried: int, attempts: int = 0) -> None:
        none = GatewayHeldBack("No upstream takes this request as it is.", retry_after=1, reason="relay")
        failure = told(failures) if failures else none
        super().__init__(failure.reason, failure.answer)
        self.failures = tuple(failures)
        self.tried = tried
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class RoutedStream:
    """An `UpstreamStream` that knows who answers (`target`), and after how many attempts at all targets."""

    inner: UpstreamStream
    target: Target
    attempts: int

    @property
    def headers(self) -> Mapping[str, str]:
        return self.inner.headers

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.inner.__aiter__()


@dataclass(frozen=True, slots=True)
class RoutedBytes:
    """A `RawStream` that knows the same."""

    inner: RawStream
    target: Target
    attempts: int

    @property
    def headers(self) -> Mapping[str, str]:
        return self.inner.headers

    @property
    def content_type(self) -> str:
        return self.inner.content_type

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.inner.__aiter__()


class Router:
    """Upstreams by name, and the table of routes over them.

    `patience`: seconds from a request to the beginning of its answer, with all attempts, waits and fallbacks.
    `UpstreamRequest.model`, where set, must be what the body names: it spares looking it up.
    `clock`, `sleep` and `chance` are replaced in tests.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        routes: Routes,
        *,
        patience: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = "+".join(upstream.name for upstream in upstreams)
        self.routes = routes
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._catalogue = Catalogue(routes, {upstream.name: upstream.provider.models for upstream in upstreams})

    def route(self, model: str) -> Route:
        """Where a requested name leads. Raises `InvalidRequest` (400) when it is not offered."""
        return self.routes.route(model)

    def relays(self, request: UpstreamRequest) -> bool:
        """Whether the first target that is available now takes the request byte for byte."""
        route = self._route_of(request)
        for target in route.targets:
            upstream = self._upstreams[target.upstream]
            if upstream.breaker.allows:
                return upstream.relays(self._for(target, request, route))
        return False

    @asynccontextmanager
    async def relay(self, request: UpstreamRequest) -> AsyncIterator[RoutedBytes]:
        """See `RelayProvider.relay`. Raises `RelayEnded` when the next target in turn would not take the bytes."""
        call, target, attempts = await self._begun(request, 0, (), Upstream.relaying, relaying=True)
        async with call as stream:
            yield RoutedBytes(stream, target, attempts)

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, skip: int = 0, failed: Sequence[UpstreamFailure] = ()
    ) -> AsyncIterator[RoutedStream]:
        """See `Provider.stream`. `skip`: targets that need not be tried any more (`RelayEnded.tried`); `failed`: how
        they failed."""
        call, target, attempts = await self._begun(request, skip, failed, Upstream.streaming)
        async with call as stream:
            yield RoutedStream(stream, target, attempts)

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        """See `Provider.count_tokens`. Asks the first available target once. None also when it cannot answer now:
        an estimate serves the client better than a failure. Only its 400 and 413 are raised."""
        route = self._route_of(request)
        for target in route.targets:
            upstream = self._upstreams[target.upstream]
            if not upstream.breaker.allows:
                continue
            try:
                async with asyncio.timeout(COUNT_SECONDS):
                    return await upstream.provider.count_tokens(self._for(target, request, route, counting=True))
            except (UpstreamFailure, TimeoutError) as failure:
                if isinstance(failure, UpstreamError) and failure.status in _CLIENTS_FAULT:
                    raise
                reason = failure.reason if isinstance(failure, UpstreamFailure) else "no answer in time"
                log.info("count_tokens_unanswered", upstream=target.upstream, reason=reason)
                return None
        return None

    async def models(self) -> list[dict[str, Any]]:
        """The whole list of what is on offer; see `Catalogue`."""
        return await self._catalogue.models()

    def status(self) -> list[UpstreamStatus]:
        """How every upstream is now."""
        return [upstream.status() for upstream in self._upstreams.values()]

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        await self._catalogue.aclose()
        for upstream in self._upstreams.values():
            await upstream.provider.aclose()

    def _route_of(self, request: UpstreamRequest) -> Route:
        return self.routes.route(request.model or model_in(request.body))

    def _for(
        self, target: Target, request: UpstreamRequest, route: Route, *, counting: bool = False
    ) -> UpstreamRequest:
        """The request as the target should get it; the very body wherever nothing has to change."""
        body = request.body
        if route.max_tokens is not None and not counting:
            body = capped(body, route.max_tokens)
        model = "" if target.model == route.requested else target.model
        if body is request.body and model == request.model:
            return request
        return UpstreamRequest(body, request.headers, request.request_id, model, request.foreign_reasoning)

    async def _begun(
        self,
        request: UpstreamRequest,
        skip: int,
        failed: Sequence[UpstreamFailure],
        asking: Callable[[Upstream, UpstreamRequest], Opening[Stream]],
        *,
        relaying: bool = False,
    ) -> tuple[Call[Stream], Target, int]:
        """The first call whose answer begins, and after how many attempts."""
        route = self._route_of(request)
        until = self._clock() + self._patience
        failures = list(failed)
        attempts = 0
        skip = min(skip, len(route.targets) - 1)
        for at, target in enumerate(route.targets[skip:], skip):
            upstream = self._upstreams[target.upstream]
            outgoing = self._for(target, request, route)
            if relaying and upstream.breaker.allows and not upstream.relays(outgoing):
                raise RelayEnded(failures, at, attempts)
            another = at + 1 < len(route.targets)
            for number in range(1, upstream.attempts + 1):
                began = self._clock()
                try:
                    call = await upstream.call(asking(upstream, outgoing), until - began)
                except UpstreamFailure as failure:
                    now = self._clock()
                    facts = Attempt(number, upstream.attempts, now - began, until - now, another)
                    last = failure
                except InvalidRequest as refusal:
                    if not failures:
                        raise
                    # What a spare cannot be asked is no fault of the request: its first target would have taken it.
                    log.info("upstream_cannot_stand_in", upstream=target.upstream, reason=refusal.message)
                    break
                else:
                    return call, target, attempts + 1
                attempts += not isinstance(last, GatewayHeldBack)
                decision = decide(last, facts, chance=self._chance())
                log.warning(
                    "upstream_attempt_failed",
                    upstream=target.upstream,
                    model=target.model,
                    attempt=number,
                    then=decision.action,
                    because=decision.reason,
                    reason=last.reason,
                    request=request.request_id,
                )
                if decision.action == "again":
                    await self._sleep(decision.wait)
                    continue
                failures.append(last)
                if decision.action == "stop":
                    raise told(failures)
                break
        raise told(failures)
