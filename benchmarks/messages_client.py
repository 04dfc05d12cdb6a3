"""A client of the Messages API that knows how long its answers took."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import httpx

__all__ = ["MessagesClient", "Times"]

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds from sending a request."""

    first_byte: float
    whole: float


class MessagesClient:
    """Asks one server, over connections that are kept alive. Every question is a new one: no answer of an
    earlier turn can be given again."""

    def __init__(self, url: str, key: str, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60)

    async def ask(self, *, stream: bool) -> Times:
        """Raises httpx.HTTPStatusError when the answer is not 200, RuntimeError when it is not whole."""
        question = {
            "model": "claude-scripted-1",
            "max_tokens": 1000,
            "stream": stream,
            "messages": [{"role": "user", "content": f"Question number {next(_numbers)}."}],
        }
        first = 0.0
        received = bytearray()
        began = time.perf_counter()
        async with self._client.stream("POST", "/v1/messages", json=question) as response:
            async for chunk in response.aiter_raw():
                first = first or time.perf_counter()
                received += chunk
        ended = time.perf_counter()
        if response.status_code != 200 or (b"message_stop" if stream else b"end_turn") not in received:
            raise RuntimeError(f"status {response.status_code}: {bytes(received[:300])!r}")
        return Times((first - began) * 1000, (ended - began) * 1000)

    async def aclose(self) -> None:
        await self._client.aclose()
