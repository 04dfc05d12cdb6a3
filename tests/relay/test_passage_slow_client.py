"""A client that takes its time: signs of life never come between, or after, what they are not about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.messages.events import Event
from gateway.messages.grammar import Grammar
from gateway.providers.base import UpstreamRequest
from gateway.relay.glance import glance_at
from gateway.relay.passage import Passage
from gateway.routing.router import Router
from tests.support.hostile_answers import messages_text
from tests.support.hostile_checks import events_of


class SlowClient:
    """A connection whose writes wait, one after the other, while it is full, as the server's do."""

    def __init__(self) -> None:
        self.got = b""
        self.waiting = 0
        self._room = asyncio.Event()
        self._room.set()

    def fill(self) -> None:
        self._room.clear()

    def drain(self) -> None:
        self._room.set()

    async def send(self, message: Any) -> None:
        if not self._room.is_set():
            self.waiting += 1
            await self._room.wait()
            self.waiting -= 1
        self.got += message.get("body", b"")

    async def receive(self) -> Any:
        await asyncio.Event().wait()


class Answers:
    """A router whose only upstream says what is put in."""

    content_type = "text/event-stream"
    headers: dict[str, str] = {}  # noqa: RUF012
    attempts = 1
    target = SimpleNamespace(upstream="up", model="m")

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    @asynccontextmanager
    async def relay(self, request: UpstreamRequest) -> AsyncIterator[Answers]:
        yield self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.pieces.get()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


BODY = b'{"model":"m","max_tokens":1,"stream":true,"messages":[{"role":"user","content":"x"}]}'
EVENTS = messages_text("one", "two")


@pytest.mark.parametrize("at", range(1, len(EVENTS) - 1))
@pytest.mark.parametrize("first", ["the sign", "the piece"])
async def test_a_sign_of_life_that_had_to_wait_is_still_true_when_it_is_sent(at: int, first: str) -> None:
    client, answers = SlowClient(), Answers()
    glance = glance_at(BODY)
    assert glance is not None
    passage = Passage(
        glance, client.send, request_id="req_1", headers={}, heartbeat_seconds=0.06, max_seconds=60, offered=None
    )
    running = asyncio.ensure_future(
        passage.run(cast(Router, answers), UpstreamRequest(BODY, {}, "req_1", "m"), client.receive)
    )
    for event in EVENTS[:at]:
        answers.pieces.put_nowait(event)
    await until(lambda: EVENTS[at - 1].split(b"\n")[0] in client.got)
    client.fill()
    if first == "the piece":
        answers.pieces.put_nowait(EVENTS[at])
        await until(lambda: client.waiting == 1)
        await asyncio.sleep(0.2)  # several signs fall due
        rest = EVENTS[at + 1 :]
    else:
        await until(lambda: client.waiting == 1)
        rest = EVENTS[at:]
    for event in rest:
        answers.pieces.put_nowait(event)
    client.drain()
    async with asyncio.timeout(10):
        assert await running is None
    grammar, names = Grammar(), []
    for name, data in events_of(client.got):
        grammar.check(Event(name, data))
        names.append(name)
    assert names[-1] == "message_stop"
    assert names.count("message_stop") == 1
