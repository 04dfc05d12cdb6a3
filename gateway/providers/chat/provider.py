"""Upstreams that speak OpenAI's chat completions, behind the seam of every other provider.

Knows HTTP and credentials; what is said to the server and what its answer means is decided by the pure modules
beside this one. Must not know which vendor it speaks to: that is its dialect.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway import __version__
from gateway.providers.accepted import Running, json_object, noted_headers, refusal_of, translated
from gateway.providers.adapt import CHAT, adapt, answered
from gateway.providers.answer_room import room_for_answer
from gateway.providers.base import UpstreamRequest, UpstreamTimeout
from gateway.providers.chat.answer import read_answer
from gateway.providers.chat.dialects import DIALECTS, Dialect
from gateway.providers.chat.endpoints import Endpoints
from gateway.providers.chat.request import ChatRequest, to_chat
from gateway.providers.credentials import Credential
from gateway.providers.estimate import estimate_tokens
from gateway.providers.failures import error_from_answer, names_no_endpoint, refuses_credential
from gateway.providers.wire import HttpClient, HttpResponse

__all__ = ["ChatProvider"]

SIDE_CALL_SECONDS = 60.0
"""Longest wait for the list of models."""

_MAX_MODELS = 5000
_WINDOW_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


class ChatProvider:
    """One upstream. Implements `Provider`.

    `url`: see `Endpoints.of`. `extra_headers` go on every request. `client` and `credential` are closed with it.
    A refused credential gets one more try if there is a fresh one, and a refused length of the answer one with
    the length the server names.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None = None,
        *,
        name: str = "chat",
        dialect: Dialect = DIALECTS["generic"],
        client: HttpClient | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.endpoints = Endpoints.of(url, dialect.root)
        self._credential = credential
        self._client = client if client is not None else HttpClient()
        self._capabilities = (
            CHAT if not dialect.system_midway else replace(CHAT, lacks=CHAT.lacks - {"system_messages"})
        )
        self._headers = {
            "user-agent": f"bulkhead/{__version__}",
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            **{header.lower(): value for header, value in (extra_headers or {}).items()},
        }

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[Running]:
        """See `Provider.stream`. Raises `InvalidRequest` too, for what the upstream cannot be asked."""
        adapted = adapt(request, self._capabilities, upstream=self.name)
        model = request.model or adapted.request.model
        chat = to_chat(
            adapted.request,
            self.dialect,
            upstream=self.name,
            model=model,
            names_model=not self.endpoints.names_model,
        )
        estimated = estimate_tokens(adapted.request)
        async with self._asked(chat, self.endpoints.chat_for(model)) as response:
            async with aclosing(read_answer(response, chat.reading, estimated)) as events:
                found = answered(events, adapted) if adapted.edited else events
                yield Running(noted_headers(response), await anext(found), found)

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        """See `Provider.count_tokens`: no chat server counts."""
        return None

    async def models(self) -> list[dict[str, Any]]:
        """See `Provider.models`."""
        if self.endpoints.models is None:
            return []
        try:
            async with asyncio.timeout(SIDE_CALL_SECONDS):
                async with self._sent("GET", self.endpoints.models, b"") as response:
                    if response.status != 200:
                        body = await refusal_of(response)
                        if names_no_endpoint(response.status, body):
                            return []
                        raise error_from_answer(response.status, response.headers, body)
                    listed = (await json_object(response)).get("data")
        except TimeoutError as error:
            raise UpstreamTimeout(f"no list of models in {SIDE_CALL_SECONDS:.0f} s") from error
        entries = listed if isinstance(listed, list) else []
        return [_model_info(entry) for entry in entries[:_MAX_MODELS] if _has_id(entry)]

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        if self._credential is not None:
            await self._credential.aclose()
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(self, chat: ChatRequest, url: str) -> AsyncIterator[HttpResponse]:
        """A 200 answer."""
        shorter: int | None = None
        for last in (False, True):
            asked = chat if shorter is None else chat.limited(shorter)
            async with self._sent("POST", url, asked.encode()) as response:
                if response.status == 200:
                    yield response
                    return
                body = await refusal_of(response)
            shorter = None if last else room_for_answer(response.status, body, asked.max_tokens)
            if shorter is None:
                raise error_from_answer(response.status, response.headers, body)

    @asynccontextmanager
    async def _sent(self, method: str, url: str, body: bytes) -> AsyncIterator[HttpResponse]:
        """An answer of any status; a refused credential has had its second try."""
        for last in (False, True):
            proof = await self._credential.headers() if self._credential is not None else {}
            refusal: bytes = b""
            with translated():
                async with self._client.request(method, url, {**self._headers, **proof}, body) as response:
                    if last or self._credential is None or response.status not in (401, 403):
                        yield response
                        return
                    refusal = await refusal_of(response)
            if not refuses_credential(response.status, refusal) or not self._credential.rejected():
                raise error_from_answer(response.status, response.headers, refusal)


def _has_id(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str) and bool(entry["id"])


def _model_info(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A listed model in the API's ModelInfo form as far as it goes."""
    name = entry.get("name")
    info: dict[str, Any] = {
        "id": entry["id"],
        "type": "model",
        "display_name": name if isinstance(name, str) and name else entry["id"],
        "created_at": _time(entry.get("created")),
    }
    windows = (entry.get(field) for field in _WINDOW_FIELDS)
    window = next((size for size in windows if isinstance(size, int) and size > 0), None)
    return info if window is None else {**info, "max_input_tokens": window}


def _time(seconds: object) -> str:
    """RFC 3339; 1970 where the server does not say."""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds < 2**33:
        seconds = 0
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
