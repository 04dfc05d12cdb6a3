"""Any upstream that speaks the Anthropic Messages API: Anthropic itself, Azure, Databricks' native route, ...

Knows URLs, credentials and httpx. Sends nothing of the client but the body it is given and two headers.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec

from gateway.messages import jsonbytes
from gateway.messages.events import ERROR, Event
from gateway.messages.grammar import Grammar, StreamBroken
from gateway.messages.replay import message_events
from gateway.messages.sse_reader import MAX_EVENT, read_events
from gateway.providers.base import FORWARDED_HEADERS, UpstreamBroken, UpstreamRequest, UpstreamTimeout
from gateway.providers.failures import MAX_ERROR_BODY, error_from_answer, error_from_event

__all__ = ["AnthropicProvider", "Credential", "Endpoints"]

DEFAULT_VERSION = "2023-06-01"
_NOTED_HEADERS = ("request-id", "apim-request-id", "x-request-id")
_DRAIN_SECONDS = 0.25
_MODEL_PAGES = 20


@dataclass(frozen=True, slots=True)
class Credential:
    """The upstream's secret and the header it travels in. Never printed."""

    scheme: Literal["x-api-key", "bearer", "api-key"]
    secret: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        if self.scheme == "bearer":
            return {"authorization": f"Bearer {self.secret}"}
        return {self.scheme: self.secret}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three URLs of one upstream."""

    messages: str
    count_tokens: str
    models: str

    @classmethod
    def of(cls, url: str) -> "Endpoints":
        """From a base URL (`https://host`, `https://host/anthropic`), with or without `/v1` or `/v1/messages`
        at its end. A query string stays on each."""
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"not an http(s) URL: {url}")
        path = parsed.path.rstrip("/")
        for tail in ("/messages", "/v1"):
            path = path.removesuffix(tail)

        def at(tail: str) -> str:
            return str(parsed.copy_with(path=f"{path}/v1/{tail}"))

        return cls(at("messages"), at("messages/count_tokens"), at("models"))


class AnthropicProvider:
    """One upstream over a pool of HTTP/1.1 connections.

    `silence` bounds, in seconds, the wait for the first byte and between bytes; `connect` the dialling.
    `version` fixes anthropic-version; without it the client's is passed on (default 2023-06-01).
    `extra_headers` go on every request. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None = None,
        *,
        name: str = "anthropic",
        version: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        connect: float = 10.0,
        silence: float = 600.0,
        connections: int = 500,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.endpoints = Endpoints.of(url)
        self._version = version
        fixed = {"user-agent": "bulkhead", "accept-encoding": "identity", "content-type": "application/json"}
        fixed.update(extra_headers or {})
        fixed.update(credential.headers() if credential else {})
        self._client = httpx.AsyncClient(
            headers=fixed,
            timeout=httpx.Timeout(silence, connect=connect, pool=connect),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=100, keepalive_expiry=30),
            follow_redirects=False,
            transport=transport,
        )

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator["_Stream"]:
        """See `Provider.stream`."""
        sending = self._client.build_request(
            "POST", self.endpoints.messages, content=request.body, headers=self._forwarded(request.headers)
        )
        with _translated():
            response = await self._client.send(sending, stream=True)
        try:
            with _translated():
                if response.status_code != 200:
                    raise await _refusal(response)
            yield _Stream(response)
        finally:
            await response.aclose()

    async def count_tokens(self, body: bytes, headers: Mapping[str, str]) -> int:
        """See `Provider.count_tokens`."""
        answer = await self._object("POST", self.endpoints.count_tokens, body, self._forwarded(headers))
        count = answer.get("input_tokens")
        if isinstance(count, bool) or not isinstance(count, int):
            raise UpstreamBroken("count_tokens answered without input_tokens")
        return count

    async def models(self) -> list[dict[str, Any]]:
        """See `Provider.models`."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        for _ in range(_MODEL_PAGES):
            url = httpx.URL(self.endpoints.models).copy_merge_params({"limit": "1000"})
            if after is not None:
                url = url.copy_merge_params({"after_id": after})
            page = await self._object("GET", str(url), b"", self._forwarded({}))
            data = page.get("data")
            if not isinstance(data, list):
                raise UpstreamBroken("models answered without data")
            found.extend(model for model in data if isinstance(model, dict))
            after = page.get("last_id")
            if page.get("has_more") is not True or not isinstance(after, str):
                break
        return found

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        await self._client.aclose()

    def _forwarded(self, headers: Mapping[str, str]) -> dict[str, str]:
        kept = {name: headers[name] for name in FORWARDED_HEADERS if headers.get(name)}
        kept["anthropic-version"] = self._version or kept.get("anthropic-version", DEFAULT_VERSION)
        return kept

    async def _object(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        with _translated():
            async with self._client.stream(method, url, content=body, headers=headers) as response:
                if response.status_code != 200:
                    raise await _refusal(response)
                return await _json_object(response)


class _Stream:
    """The running answer: see `UpstreamStream`."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers = {name: response.headers[name] for name in _NOTED_HEADERS if name in response.headers}

    async def __aiter__(self) -> AsyncIterator[Event]:
        with _translated():
            if "json" in self._response.headers.get("content-type", ""):
                for event in await _unstreamed(self._response):
                    yield event
                return
            chunks = self._response.aiter_bytes()
            async with aclosing(read_events(chunks)) as found:
                async for event in found:
                    if event.name == ERROR:
                        raise error_from_event(event.data)
                    yield event
            await _drain(chunks)


async def _unstreamed(response: httpx.Response) -> list[Event]:
    """The events of a 200 answer that is one JSON object: a whole message, or an error in disguise."""
    message = await _json_object(response)
    if message.get("type") != "message":
        raise error_from_event(message)
    content = message.get("content")
    if not isinstance(content, list) or not all(
        isinstance(block, dict) and isinstance(block.get("type"), str) for block in content
    ):
        raise StreamBroken("a message without a list of typed blocks")
    grammar = Grammar()
    try:
        found = list(message_events(message))
    except ValueError as error:
        raise StreamBroken(str(error)) from error
    for event in found:
        grammar.check(event)
    return found


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads the little that may follow message_stop, so that the connection can serve again; an upstream
    that keeps its body open beyond a moment loses the connection instead."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, httpx.TransportError):
        return


async def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        decoded = jsonbytes.decode_any(await _body(response, MAX_EVENT))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBroken(f"an answer that is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise UpstreamBroken("an answer that is not a JSON object")
    return decoded


async def _refusal(response: httpx.Response) -> Exception:
    return error_from_answer(response.status_code, response.headers, await _body(response, MAX_ERROR_BODY))


async def _body(response: httpx.Response, limit: int) -> bytes:
    """At most `limit` bytes of the body."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


@contextmanager
def _translated() -> Iterator[None]:
    """The library's failures in the words of the seam."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeout(f"{type(error).__name__}: {error}") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise UpstreamBroken(f"{type(error).__name__}: {error}") from error
    except StreamBroken as error:
        raise UpstreamBroken(error.reason) from error
