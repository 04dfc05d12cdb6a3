"""Any upstream that speaks the Anthropic Messages API: Anthropic itself, Azure, Databricks' native route, ...

Sends nothing of the client but the body and two headers. What such upstreams lack is data (`Capabilities`);
must not know which vendor it speaks to.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from gateway import __version__
from gateway.messages import jsonbytes
from gateway.messages.errors import InvalidRequest
from gateway.providers.accepted import Running, json_object, noted_headers, refusal_of, translated
from gateway.providers.adapt import ANTHROPIC, Adapted, Capabilities, adapt, answered, untouched
from gateway.providers.answer_room import longest_answer
from gateway.providers.base import FORWARDED_HEADERS, UpstreamBroken, UpstreamRequest, UpstreamTimeout
from gateway.providers.credentials import Credential
from gateway.providers.endpoints import Endpoints, with_query
from gateway.providers.failures import error_from_answer, names_no_endpoint, refuses_credential
from gateway.providers.messages_answer import RawAnswer, open_raw, read_answer
from gateway.providers.wire import HttpClient, HttpResponse

__all__ = ["USER_AGENT", "AnthropicProvider"]

DEFAULT_VERSION = "2023-06-01"
USER_AGENT = f"bulkhead/{__version__}"

SIDE_CALL_SECONDS = 60.0
"""Longest wait for a count or a page of models."""

NO_COUNT_SECONDS = 600.0
"""How long an upstream without count_tokens is not asked again."""

_MODEL_PAGES = 20


class AnthropicProvider:
    """One upstream. Implements `Provider` and `RelayProvider`.

    `version` fixes anthropic-version; without it the client's is passed on (default 2023-06-01).
    `extra_headers` go on every request. `capabilities` say what has to be taken out of requests; `counts` and
    `lists_models`, which of the side endpoints there are. `client` and `credential` are closed with it. `now`
    is a monotonic clock.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None = None,
        *,
        name: str = "anthropic",
        client: HttpClient | None = None,
        capabilities: Capabilities = ANTHROPIC,
        version: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        counts: bool = True,
        lists_models: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.endpoints = Endpoints.of(url)
        self._credential = credential
        self._client = client if client is not None else HttpClient()
        self._vendors_own = capabilities == ANTHROPIC
        self._capabilities = capabilities if version is None else replace(capabilities, versions=(version,))
        self._version = version
        self._headers = {
            "user-agent": USER_AGENT,
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            **{header.lower(): value for header, value in (extra_headers or {}).items()},
        }
        self._counts_from = 0.0 if counts else float("inf")
        self._lists_models = lists_models
        self._now = now

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[Running]:
        """See `Provider.stream`. Raises `InvalidRequest` too, for what the upstream cannot be asked."""
        body, headers, adapted = self._sent(request)
        shortens = self._may_shorten(request)
        async with self._accepted("POST", self.endpoints.messages, body, headers, shortens=shortens) as response:
            async with aclosing(read_answer(response)) as events:
                found = answered(events, adapted) if adapted is not None and adapted.edited else events
                yield Running(noted_headers(response), await anext(found), found)

    def relays(self, request: UpstreamRequest) -> bool:
        """See `RelayProvider.relays`."""
        if self._version is not None and request.headers.get("anthropic-version", self._version) != self._version:
            return False  # the client speaks another version than this upstream is told
        return untouched(
            request.body,
            self._capabilities,
            self._forwarded(request.headers),
            foreign_reasoning=request.foreign_reasoning,
        )

    @asynccontextmanager
    async def relay(self, request: UpstreamRequest) -> AsyncIterator[RawAnswer]:
        """See `RelayProvider.relay`. Only the model's name in the body is replaced."""
        body, headers = _renamed(request), self._forwarded(request.headers)
        shortens = self._may_shorten(request)
        async with self._accepted("POST", self.endpoints.messages, body, headers, shortens=shortens) as response:
            yield await open_raw(response)

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        """See `Provider.count_tokens`. That an upstream has no such endpoint is remembered for a while."""
        if self._now() < self._counts_from:
            return None
        body, headers, _ = self._sent(request)
        answer = await self._object("POST", self.endpoints.count_tokens, body, headers)
        if answer is None:
            self._counts_from = self._now() + NO_COUNT_SECONDS
            return None
        count = answer.get("input_tokens")
        if isinstance(count, bool) or not isinstance(count, int):
            raise UpstreamBroken("count_tokens answered without input_tokens")
        return count

    async def models(self) -> list[dict[str, Any]]:
        """See `Provider.models`. At most 20 pages of 1000."""
        found: list[dict[str, Any]] = []
        if not self._lists_models:
            return found
        after: dict[str, str] = {}
        for _ in range(_MODEL_PAGES):
            url = with_query(self.endpoints.models, limit="1000", **after)
            page = await self._object("GET", url, b"", self._forwarded({}))
            if page is None:
                break
            data = page.get("data")
            if not isinstance(data, list):
                raise UpstreamBroken("models answered without data")
            found.extend(model for model in data if isinstance(model, dict))
            last = page.get("last_id")
            if page.get("has_more") is not True or not isinstance(last, str) or after.get("after_id") == last:
                break
            after = {"after_id": last}
        return found

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        if self._credential is not None:
            await self._credential.aclose()
        await self._client.aclose()

    def _sent(self, request: UpstreamRequest) -> tuple[bytes, dict[str, str], Adapted | None]:
        """Body and headers for the upstream, and how they were adapted; None where there was nothing to adapt,
        which is found out without parsing."""
        headers = self._forwarded(request.headers)
        if untouched(request.body, self._capabilities, headers):
            return _renamed(request), headers, None
        adapted = adapt(request, self._capabilities, upstream=self.name)
        return adapted.body, adapted.headers, adapted

    def _may_shorten(self, request: UpstreamRequest) -> bool:
        """Whether the client may be mistaken about the model: clients ask for as much as they believe it to give. The
        vendor's own words on its own model are for the client."""
        return bool(request.model) or not self._vendors_own

    def _forwarded(self, headers: Mapping[str, str]) -> dict[str, str]:
        kept = {name: headers[name] for name in FORWARDED_HEADERS if headers.get(name)}
        kept["anthropic-version"] = self._version or kept.get("anthropic-version", DEFAULT_VERSION)
        return kept

    async def _object(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """The object that a side endpoint answers; None where the upstream has no such endpoint."""
        try:
            async with asyncio.timeout(SIDE_CALL_SECONDS):
                async with self._accepted(method, url, body, headers, optional=True) as response:
                    return await json_object(response)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no answer from {url} in {SIDE_CALL_SECONDS:.0f} s") from error
        except _NoEndpoint:
            return None

    @asynccontextmanager
    async def _accepted(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        optional: bool = False,
        shortens: bool = False,
    ) -> AsyncIterator[HttpResponse]:
        """A 200 answer. A refused credential gets one more try where there is a fresh one, and with `shortens` a
        refused length of the answer one with the length the model gives. Raises `UpstreamFailure`, and `_NoEndpoint`
        for an `optional` one that the upstream does not have."""
        credential = self._credential
        proof = await credential.headers() if credential is not None else {}
        renewed = False
        while True:
            with translated():
                async with self._client.request(method, url, {**self._headers, **headers, **proof}, body) as response:
                    if response.status == 200:
                        yield response
                        return
                    refusal = await refusal_of(response)
            shorter = _shortened(body, response.status, refusal) if shortens else None
            if shorter is not None:
                body, shortens = shorter, False
                continue
            if credential is None or renewed or not refuses_credential(response.status, refusal):
                break
            refused, renewed = proof, True
            if not credential.rejected() or (proof := await credential.headers()) == refused:
                break
        if optional and names_no_endpoint(response.status, refusal):
            raise _NoEndpoint
        raise error_from_answer(response.status, response.headers, refusal)


class _NoEndpoint(Exception):
    """The upstream knows no such path."""


def _renamed(request: UpstreamRequest) -> bytes:
    """The body with the upstream's name of the model. Decoding the top level costs less than looking for the one
    `"model"` that counts: of a repeated key the last one does."""
    if not request.model:
        return request.body
    try:
        fields = jsonbytes.decode_fields(request.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not a JSON object: {error}") from error
    fields["model"] = jsonbytes.Raw(jsonbytes.encode(request.model))
    return jsonbytes.encode(fields)


def _shortened(body: bytes, status: int, refusal: bytes) -> bytes | None:
    """The body for the longest answer that the refusal names; None where the refusal is about anything else."""
    if status != 400 or b"max_tokens" not in refusal:
        return None
    try:
        fields = jsonbytes.decode_fields(body)
        asked = jsonbytes.decode_any(fields.get("max_tokens", jsonbytes.Raw(b"0")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    room = longest_answer(status, refusal, asked) if isinstance(asked, int) else None
    if room is None:
        return None
    fields["max_tokens"] = jsonbytes.Raw(jsonbytes.encode(room))
    return jsonbytes.encode(fields)
