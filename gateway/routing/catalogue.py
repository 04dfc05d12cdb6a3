"""The list of models on offer: the operator's own names first, then what the upstreams tell of themselves.

Knows names and lists. An upstream's list is fetched in the background of the first question, kept for a short while
and served stale while it is fetched anew: clients wait three seconds for this list and then do without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from gateway.providers.base import UpstreamFailure, UpstreamTimeout
from gateway.routing.route import VIA, ModelRoute, Routes

__all__ = ["Catalogue", "model_info", "recognised"]

log = structlog.get_logger(__name__)

Model = dict[str, Any]
Fetch = Callable[[], Awaitable[list[Model]]]

FRESH_SECONDS = 60.0
"""How long a fetched list is served without asking again."""

WAIT_SECONDS = 1.5
"""For lists that were never fetched."""

FAILED_SECONDS = 5.0
"""How long an upstream that would not tell its list is not asked again."""

FETCH_SECONDS = 15.0
"""For one upstream to tell its list."""

_EPOCH = "1970-01-01T00:00:00Z"
"""What the API itself says where a date is not known."""


class Catalogue:
    """One for all upstreams; `fetches` asks each for its list."""

    def __init__(
        self,
        routes: Routes,
        fetches: Mapping[str, Fetch],
        *,
        wait: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = routes
        self._wait = wait
        names = sorted(fetches, key=lambda name: name != routes.default)
        asked = names if routes.discovery and not routes.offered else []
        self._lists = {name: _List(name, fetches[name], clock) for name in asked}

    async def models(self) -> list[Model]:
        """Every model once, in the API's form. Raises `UpstreamFailure` only when there is nothing at all to show
        and an upstream is the reason."""
        if self._routes.offered:
            named = {entry.name: entry for entry in self._routes.entries}
            own = [_of_entry(named.get(name) or ModelRoute(name, ())) for name in self._routes.offered]
        else:
            own = [_of_entry(entry) for entry in self._routes.entries if entry.name[-1] != "*"]
        pending = {task for one in self._lists.values() if (task := one.refresh()) and one.models is None}
        if pending:
            await asyncio.wait(pending, timeout=self._wait)
        found = [
            _named(model, name if name != self._routes.default else "")
            for name, one in self._lists.items()
            for model in one.models or ()
        ]
        if not own and not found:
            for one in self._lists.values():
                if one.models is None:
                    raise one.failure or UpstreamTimeout(f"{one.name}: no list of models in time")
        return _once(own + found)

    async def aclose(self) -> None:
        """Ends what is being fetched."""
        for one in self._lists.values():
            await one.aclose()


class _List:
    """One upstream's list: None until it was fetched once."""

    def __init__(self, name: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self.name = name
        self.models: list[Model] | None = None
        self.failure: UpstreamFailure | None = None
        self._fetch = fetch
        self._clock = clock
        self._asked_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def refresh(self) -> asyncio.Task[None] | None:
        """The fetch that runs, begun if the list is old; None while it is fresh."""
        if self._task is not None and not self._task.done():
            return self._task
        rest = FRESH_SECONDS if self.failure is None else FAILED_SECONDS
        if self._asked_at is not None and self._clock() < self._asked_at + rest:
            return None
        self._asked_at = self._clock()
        self._task = asyncio.create_task(self._run(), name=f"models of {self.name}")
        return self._task

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self.models = await self._fetch()
            self.failure = None
        except UpstreamFailure as failure:
            self.failure = failure
        except TimeoutError:
            self.failure = UpstreamTimeout(f"{self.name}: no list of models in {FETCH_SECONDS:g} s")
        if self.failure is not None:
            log.warning("models_not_listed", upstream=self.name, reason=self.failure.reason)


def recognised(model_id: str) -> bool:
    """Whether Claude Code's discovery shows this id."""
    return "claude" in model_id or "anthropic" in model_id


def model_info(model: Model) -> Model:
    """A ModelInfo with every field that clients rely on; what the upstream said is kept."""
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model.get("display_name") or model["id"],
        "created_at": model.get("created_at") or _EPOCH,
        "lifecycle": model.get("lifecycle") or "active",
        **{key: value for key, value in model.items() if key not in _ALWAYS},
    }


_ALWAYS = frozenset({"type", "id", "display_name", "created_at", "lifecycle"})


def _of_entry(entry: ModelRoute) -> Model:
    limit = {"max_tokens": entry.max_tokens} if entry.max_tokens is not None else {}
    return {"id": entry.name, "display_name": entry.display_name, **limit}


def _named(model: Model, upstream: str) -> Model:
    """Under the name that leads back to it: only the default upstream's models go by their bare id."""
    return (
        {**model, "id": f"{upstream}/{model['id']}", "display_name": model.get("display_name")} if upstream else model
    )


def _once(models: list[Model]) -> list[Model]:
    """No id twice, the first counts; after each id that Claude Code would pass over, one that it shows."""
    listed: dict[str, Model] = {}
    for model in models:
        model_id = model.get("id")
        if not isinstance(model_id, str) or not model_id or model_id in listed:
            continue
        listed[model_id] = info = model_info(model)
        if not recognised(model_id):
            listed.setdefault(VIA + model_id, {**info, "id": VIA + model_id})
    return list(listed.values())
