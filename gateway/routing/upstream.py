"""One upstream as the router sees it: its provider, its breaker, its slots, and what last went wrong.

Carries out one attempt. Must not know of other upstreams, of model names or of retries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar, cast

from gateway.providers.adapt import with_compaction
from gateway.providers.base import (
    Provider,
    RawStream,
    RelayProvider,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeout,
)
from gateway.routing.attempts import GatewayHeldBack, counts_against
from gateway.routing.breaker import Breaker, Trial
from gateway.routing.slots import Slots

__all__ = ["Call", "Opening", "Upstream", "UpstreamStatus"]

Stream = TypeVar("Stream")
Opening = Callable[[], AbstractAsyncContextManager[Stream]]
"""Begins to ask, when called."""


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """How an upstream is. `last_error` is for operators; `last_error_at` is UNIX seconds."""

    name: str
    breaker: str
    rest_left: float
    in_flight: int
    waiting: int
    last_error: str | None
    last_error_at: float | None


class Upstream:
    """A provider with its limits. `attempts`: tries of one request here before its first byte. `compacts`: whether
    the upstream summarises old messages itself; where it cannot, the gateway does."""

    def __init__(
        self,
        provider: Provider,
        *,
        name: str | None = None,
        attempts: int = 3,
        compacts: bool = True,
        breaker: Breaker | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.provider = provider
        self.name = name or provider.name
        self.attempts = attempts
        self._compacts = compacts
        self.breaker = breaker or Breaker()
        self.slots = slots or Slots(self.name, 500)
        self._relay = cast(RelayProvider, provider) if hasattr(provider, "relay") else None
        self._last_error: tuple[str, float] | None = None

    def relays(self, request: UpstreamRequest) -> bool:
        """Whether this request can go to it byte for byte."""
        return self._relay is not None and self._relay.relays(request)

    def streaming(self, request: UpstreamRequest) -> Opening[UpstreamStream]:
        """What `call` opens for an answer as events."""
        if self._compacts:
            return lambda: self.provider.stream(request)
        return lambda: with_compaction(self.provider, request)

    def relaying(self, request: UpstreamRequest) -> Opening[RawStream]:
        """What `call` opens for an answer as bytes. Only where `relays` said yes."""
        return lambda: cast(RelayProvider, self.provider).relay(request)

    async def call(self, opening: Opening[Stream], left: float) -> Call[Stream]:
        """One attempt: a call whose answer has begun, within `left` seconds. Raises `UpstreamFailure`."""
        trial = self.breaker.begin()
        if trial is None:
            raise self._resting()
        call = Call(self, trial, opening)
        await call.begin(left)
        return call

    def note(self, failure: UpstreamFailure) -> None:
        """Remembers what went wrong last, for `status`."""
        self._last_error = (failure.reason, time.time())

    def status(self) -> UpstreamStatus:
        """How it is now."""
        text, at = self._last_error or (None, None)
        return UpstreamStatus(
            self.name, self.breaker.state, self.breaker.rest_left, self.slots.taken, self.slots.waiting, text, at
        )

    def _resting(self) -> GatewayHeldBack:
        return GatewayHeldBack(
            "The upstream model service keeps failing; the gateway leaves it alone for a moment.",
            retry_after=self.breaker.rest_left or 1.0,
            reason=f"{self.name}: breaker {self.breaker.state}"
            + (f" after {self._last_error[0]}" if self._last_error else ""),
        )


class Call(Generic[Stream]):
    """One call, from its slot to its end: `async with call as stream`. What the block raises counts too, since a
    stream may break off long after it began. (A class, not a chain of generators: it is on the hot path.)"""

    __slots__ = ("_opened", "_opening", "_stream", "_trial", "_upstream")

    def __init__(self, upstream: Upstream, trial: Trial, opening: Opening[Stream]) -> None:
        self._upstream = upstream
        self._trial = trial
        self._opening = opening
        self._opened: AbstractAsyncContextManager[Stream] | None = None
        self._stream: Stream | None = None

    async def begin(self, left: float) -> None:
        """Waits for a slot and for the answer to begin; after a failure nothing is held."""
        held = False
        try:
            async with asyncio.timeout(left):
                await self._upstream.slots.take()
                held = True
                opened = self._opening()
                self._stream = await opened.__aenter__()
        except BaseException as problem:
            if held:
                self._upstream.slots.give_back()
            if isinstance(problem, TimeoutError):
                problem = UpstreamTimeout(f"{self._upstream.name}: no answer has begun in time")
            self._over(problem)
            raise problem from None
        self._opened = opened
        self._trial.succeeded()

    async def __aenter__(self) -> Stream:
        return cast(Stream, self._stream)

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._opened is not None
        try:
            return await self._opened.__aexit__(kind, problem, trace)
        except BaseException as changed:
            problem = changed
            raise
        finally:
            self._upstream.slots.give_back()
            self._over(problem)

    def _over(self, problem: BaseException | None) -> None:
        if isinstance(problem, UpstreamFailure):
            self._upstream.note(problem)
            if counts_against(problem):
                self._trial.failed()
            elif not isinstance(problem, GatewayHeldBack):
                self._trial.succeeded()  # a refusal is an answer
        self._trial.over()
