"""Asks one upstream for the smallest answer there is, and says in words how it went.

For operators, never on the way of a request. Costs one model call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.messages import jsonbytes
from gateway.messages.events import MESSAGE_START
from gateway.providers.base import Provider, UpstreamFailure, UpstreamRequest
from gateway.routing.catalogue import recognised
from gateway.routing.plan import RoutingPlan

__all__ = ["Checked", "check", "model_to_ask"]


@dataclass(frozen=True, slots=True)
class Checked:
    """`first_ms`: to the first event. `answered_as`: the model as the answer names it. `problem`: None when well."""

    upstream: str
    model: str | None
    first_ms: float | None = None
    whole_ms: float | None = None
    answered_as: str | None = None
    problem: str | None = None

    @property
    def well(self) -> bool:
        return self.problem is None


async def check(provider: Provider, name: str, model: str | None, seconds: float) -> Checked:
    """One request of one output token. `model` None: one of the upstream's own list. Raises nothing of the
    upstream's; gives up after `seconds`."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            model = model or _pick([str(one.get("id", "")) for one in await provider.models()])
            if model is None:
                return Checked(name, None, problem="no model of it is known; name one with --model")
            return await _asked(provider, name, model)
    except TimeoutError:
        return Checked(name, model, problem=f"no whole answer within {time.monotonic() - began:.0f} s")
    except UpstreamFailure as failure:
        return Checked(name, model, problem=failure.reason)


def model_to_ask(plan: RoutingPlan, upstream: str) -> str | None:
    """A model of the upstream that the configuration names, the cheap kind first; None if it names none."""
    named = [
        target.model
        for entry in plan.models
        for target in entry.targets
        if target.upstream == upstream and target.model != "*"
    ]
    if not named and plan.default == upstream:
        named = list(plan.offered)
    return _pick(named)


def _pick(models: Sequence[str]) -> str | None:
    found = [model for model in models if model]
    return min(found, key=lambda model: ("haiku" not in model, not recognised(model))) if found else None


async def _asked(provider: Provider, name: str, model: str) -> Checked:
    body = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Say ok."}],
        "stream": True,
    }
    began = time.monotonic()
    first, answered_as = None, None
    async with provider.stream(UpstreamRequest(jsonbytes.encode(body), {}, "check")) as stream:
        first = time.monotonic() - began
        async for event in stream:
            if event.name == MESSAGE_START:
                answered_as = str(event.data.get("message", {}).get("model") or "") or None
    whole = time.monotonic() - began
    return Checked(name, model, round(first * 1000, 1), round(whole * 1000, 1), answered_as)
