"""A provider in memory: answers as it was told, and notes what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.messages.errors import InvalidRequest
from gateway.messages.events import Event
from gateway.providers.base import UpstreamFailure, UpstreamRequest

HANG = asyncio.Event
"""As an answer: nothing comes until the event is set."""

Answer = UpstreamFailure | InvalidRequest | asyncio.Event | str | Sequence["str | UpstreamFailure"]


class FakeStream:
    def __init__(self, name: str, pieces: Sequence[str | UpstreamFailure]) -> None:
        self.headers = {"request-id": f"req-{name}"}
        self.content_type = "text/event-stream"
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[Any]:
        for piece in self._pieces:
            if isinstance(piece, UpstreamFailure):
                raise piece
            yield self.shown(piece)

    def shown(self, piece: str) -> Any:
        return Event(piece, {"type": piece})


class FakeBytes(FakeStream):
    def shown(self, piece: str) -> Any:
        return piece.encode()


class FakeProvider:
    """Takes its answers in order, the last for ever: a failure, pieces of an answer (a failure among them breaks
    it off), or an event to wait for."""

    def __init__(self, name: str, *answers: Answer, models: Sequence[str] | UpstreamFailure = ()) -> None:
        self.name = name
        self.asked: list[UpstreamRequest] = []
        self.counted: list[UpstreamRequest] = []
        self.listed = 0
        self.open = 0
        self.closed = 0
        self.count: int | UpstreamFailure | None = None
        self.hold_list: asyncio.Event | None = None
        self.models_told = models
        self._answers = list(answers) or ["message_stop"]

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[FakeStream]:
        async with self._answering(request) as pieces:
            yield FakeStream(self.name, pieces)

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        self.counted.append(request)
        if isinstance(self.count, UpstreamFailure):
            raise self.count
        return self.count

    async def models(self) -> list[dict[str, Any]]:
        self.listed += 1
        if self.hold_list is not None:
            await self.hold_list.wait()
        if isinstance(self.models_told, UpstreamFailure):
            raise self.models_told
        return [{"type": "model", "id": name, "display_name": name.title()} for name in self.models_told]

    async def aclose(self) -> None:
        self.closed += 1

    @asynccontextmanager
    async def _answering(self, request: UpstreamRequest) -> AsyncIterator[Sequence[str | UpstreamFailure]]:
        self.asked.append(request)
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        self.open += 1
        try:
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = "message_stop"
            if isinstance(answer, UpstreamFailure | InvalidRequest):
                raise answer
            yield [answer] if isinstance(answer, str) else answer
        finally:
            self.open -= 1


class FakeRelay(FakeProvider):
    """One that takes some bodies as they are: those without the word `adapt`, and only under their own model."""

    def relays(self, request: UpstreamRequest) -> bool:
        return b"adapt" not in request.body and not request.model

    @asynccontextmanager
    async def relay(self, request: UpstreamRequest) -> AsyncIterator[FakeBytes]:
        async with self._answering(request) as pieces:
            yield FakeBytes(self.name, pieces)
