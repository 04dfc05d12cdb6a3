"""The prompt cache as one request meets it: asked or bypassed, and a kept answer as an HTTP answer."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from gateway.cache import CacheDecision, Hit, Place, PromptCache, cache_key, decide
from gateway.messages import jsonbytes
from gateway.messages.events import encode_event
from gateway.messages.request import MessagesRequest
from gateway.routing.route import Route


class Memory:
    """One per request."""

    def __init__(self, cache: PromptCache, subject: str, *, enabled: bool) -> None:
        self._cache = cache
        self._subject = subject
        self._enabled = enabled
        self._decision = CacheDecision(False, "disabled")
        self._place: Place | None = None

    async def seek(
        self, request: MessagesRequest, headers: Mapping[str, str], route: Route, *, runs_tools: bool
    ) -> Place | None:
        """The kept answer or the place for it, to be closed; None for a request that bypasses the cache.

        A request without tools sees nothing of a workspace, so that no revision of one is part of its name. The
        name holds the first target of the route: only its answers are to be kept.
        """
        self._decision = decide(request, enabled=self._enabled, gateway_runs_tools=runs_tools, headers=headers)
        if not self._decision.use:
            if self._decision.reason != "disabled":
                self._cache.bypass(self._subject, self._decision.reason)
            return None
        first = route.targets[0]
        target = f"{first.upstream}/{first.model}"
        key = cache_key(request, subject=self._subject, target=target, revision="", headers=headers)
        self._place = await self._cache.seek(key, self._subject)
        return self._place

    @property
    def headers(self) -> Mapping[str, str]:
        """What the client is told: hit, miss, or bypass and why."""
        return self._place.headers if self._place is not None else self._decision.headers


def hit_response(hit: Hit, *, stream: bool, headers: Mapping[str, str]) -> Response:
    """A kept answer, as the client asked for it."""
    if not stream:
        return Response(jsonbytes.encode(hit.message()), headers=dict(headers), media_type="application/json")
    events = b"".join(encode_event(event) for event in hit.events())
    told = {**headers, "cache-control": "no-cache", "content-type": "text/event-stream; charset=utf-8"}
    return Response(events, headers=told)
