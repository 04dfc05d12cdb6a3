"""One answer on its way from the upstream to the client, piece by piece, until its end or the client's.

Knows the stream, the client's connection and when to give a sign of life; must not know who pays or who audits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from starlette.types import Receive, Send

from gateway.limits.counts import at_least
from gateway.messages import jsonbytes
from gateway.messages.assemble import Assembler
from gateway.messages.errors import ApiError, envelope
from gateway.messages.events import encode_event
from gateway.messages.grammar import StreamBroken
from gateway.messages.jsonbytes import Raw
from gateway.messages.replay import message_events
from gateway.messages.request import MessagesRequest
from gateway.messages.sse_reader import MAX_EVENT
from gateway.providers.base import (
    RawStream,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeout,
)
from gateway.providers.failures import error_from_event
from gateway.relay.glance import Glance
from gateway.relay.tap import StreamTap, check_offered
from gateway.relay.vigil import Vigil
from gateway.routing.router import RelayEnded, RoutedBytes, RoutedStream, Router

__all__ = ["Passage"]


class _WholeBlock(msgspec.Struct):
    type: str
    name: str | None = None


class _Whole(msgspec.Struct):
    """What is looked at in an answer that is one JSON object."""

    type: str
    content: list[_WholeBlock]
    model: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None


_whole = msgspec.json.Decoder(_Whole)
_LEFT = "the client left"

DRAIN_SECONDS = 0.25

FAREWELL_SECONDS = 5.0
"""For the client to take the end of an answer that failed."""


class Passage:
    """`run` once. Afterwards `usage`, `answered_model`, `upstream` and the like say what passed."""

    def __init__(
        self,
        glance: Glance,
        send: Send,
        *,
        request_id: str,
        headers: Mapping[str, str],
        heartbeat_seconds: float,
        max_seconds: float,
        offered: Collection[str] | None,
    ) -> None:
        self._glance = glance
        self._send = send
        self._request_id = request_id
        self._headers = headers
        self._every = heartbeat_seconds
        self._longest = max_seconds
        self._offered = offered
        self._tap = StreamTap(glance.model, offered)
        self._vigil: Vigil | None = None
        self._signing: asyncio.Event | None = None
        self.begun = False
        """The head of the answer is out: a failure can only be told in the stream."""
        self._over = False
        self.usage: dict[str, Any] = {}
        self.answered_model: str | None = None
        self.stop_reason: str | None = None
        self.upstream: str | None = None
        self.target_model: str | None = None
        self.upstream_request: str | None = None
        self.attempts: int | None = None

    async def run(self, router: Router, request: UpstreamRequest, receive: Receive) -> str | None:
        """Relay the answer. Returns what went wrong at the client's end, if anything; raises what the upstream
        did wrong."""
        carrying = asyncio.current_task()
        assert carrying is not None
        vigil = self._vigil = Vigil(receive, self._beat, heartbeat_seconds=self._every, longest=self._longest)
        vigil.start()
        try:
            try:
                async with router.relay(request) as raw:
                    self._answers(raw)
                    await self._carry(raw)
            except RelayEnded as ended:
                asked = _asking_for_a_stream(request)
                async with router.stream(asked, skip=ended.tried, failed=ended.failures) as stream:
                    self._answers(stream, ended.attempts)
                    await self._carry(_Spelled(stream) if self._glance.stream else _Assembled(stream))
            return None
        except asyncio.CancelledError:
            if vigil.reason is None:
                raise
            carrying.uncancel()
            if vigil.reason == "left":
                return _LEFT
            raise UpstreamTimeout(f"the answer took longer than {self._longest:g} seconds") from None
        finally:
            self._over = True
            self._vigil = None
            vigil.stop()
            if self._glance.stream:
                self.usage, self.stop_reason = self._tap.usage, self._tap.stop_reason
                self.answered_model = self._tap.answered_model
            if self.stop_reason is None and (self.upstream is not None or vigil.reason is not None):
                self.usage = at_least(self.usage, asked=len(request.body), told=self._tap.told)

    async def fail(self, error: ApiError) -> None:
        """End an answer that has begun. A client that takes nothing is not waited for."""
        self._over = True
        if self._glance.stream:
            last = b"" if self._tap.finished else self._tap.error(error, self._request_id)
        else:
            last = jsonbytes.encode(envelope(error, self._request_id))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _answers(self, source: RoutedBytes | RoutedStream, before: int = 0) -> None:
        self.upstream_request = source.headers.get("request-id")
        self.upstream, self.attempts = source.target.upstream, before + source.attempts
        self.target_model = source.target.model

    async def _carry(self, raw: RawStream) -> None:
        if self._glance.stream:
            await self._stream(raw)
        else:
            await self._whole(raw)

    # -- a stream

    async def _stream(self, raw: RawStream) -> None:
        if "json" in raw.content_type:
            await self._unstreamed(raw)
            return
        tap = self._tap
        async for piece in raw:
            whole = tap.feed(piece)
            if tap.finished:
                await self._finish(whole)
                await _drain(raw)
                return
            if whole:
                await self._out(whole)
            if tap.over:
                break
        else:
            whole = tap.close()
            if tap.finished:
                await self._finish(whole)
                return
            await self._out(whole)
        if tap.failed is not None:
            raise error_from_event(tap.failed)
        if tap.broken is not None:
            raise UpstreamBroken(tap.broken.reason)
        raise UpstreamBroken("the stream ended before message_stop")

    async def _unstreamed(self, raw: RawStream) -> None:
        """An upstream that answers a request for a stream with one object."""
        body = await _collected(raw)
        _checked(body)
        try:
            found = list(message_events(jsonbytes.decode_any(body)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamBroken(f"a message that makes no stream: {error}") from error
        whole = b"".join(self._tap.feed(encode_event(event)) for event in found)
        if not self._tap.finished:
            raise UpstreamBroken(f"a message that makes no stream: {self._tap.broken or self._tap.failed}")
        await self._finish(whole)

    # -- one object

    async def _whole(self, raw: RawStream) -> None:
        body = await _collected(raw)
        seen = _checked(body)
        try:
            for block in seen.content:
                check_offered({"type": block.type, "name": block.name}, self._offered)
        except StreamBroken as broken:
            raise UpstreamBroken(broken.reason) from broken
        self.usage = seen.usage or {}
        self.answered_model, self.stop_reason = seen.model, seen.stop_reason
        if seen.model != self._glance.model:
            fields = jsonbytes.decode_fields(body)
            fields["model"] = Raw(jsonbytes.encode(self._glance.model))
            body = jsonbytes.encode(fields)
        self._over = True
        await self._head("application/json", len(body))
        await self._say(body, more=False)

    # -- the client's connection

    async def _out(self, data: bytes) -> None:
        if not self.begun:
            await self._head("text/event-stream; charset=utf-8", None)
        self._noted()
        if data:
            await self._say(data, more=True)

    async def _finish(self, data: bytes) -> None:
        self._over = True
        if not self.begun:
            await self._head("text/event-stream; charset=utf-8", None)
        await self._say(data, more=False)

    async def _say(self, data: bytes, *, more: bool) -> None:
        """In its turn: a sign of life that waits for a slow client is about what went before it."""
        if self._signing is not None:
            await self._signing.wait()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def _noted(self) -> None:
        if self._vigil is not None:
            self._vigil.noted()

    async def _head(self, content_type: str, length: int | None) -> None:
        if self.begun:
            return
        self.begun = True
        raw = [
            (b"content-type", content_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (b"request-id", self._request_id.encode()),
        ]
        raw += [(name.encode(), value.encode("latin-1", "replace")) for name, value in self._headers.items()]
        if length is not None:
            raw.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _beat(self) -> None:
        if self._over:
            return
        signing = self._signing = asyncio.Event()
        try:
            # JSON may begin with spaces; they keep the connection of a client that waits for a whole answer.
            sign = self._tap.heartbeat() if self._glance.stream else b" "
            await self._head("text/event-stream; charset=utf-8" if self._glance.stream else "application/json", None)
            self._noted()
            await self._send({"type": "http.response.body", "body": sign, "more_body": True})
        finally:
            self._signing = None
            signing.set()


class _Spelled:
    """An upstream's events as the bytes of a stream: where a spare upstream speaks another language."""

    content_type = "text/event-stream"

    def __init__(self, stream: UpstreamStream) -> None:
        self._stream = stream
        self.headers = stream.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for event in self._stream:
            yield encode_event(event)


class _Assembled(_Spelled):
    """The same as one object."""

    content_type = "application/json"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        message = Assembler()
        async for event in self._stream:
            message.feed(event)
        yield jsonbytes.encode(message.message)


def _asking_for_a_stream(request: UpstreamRequest) -> UpstreamRequest:
    return replace(request, body=MessagesRequest.parse(request.body).encode(stream=True))


async def _drain(raw: RawStream) -> None:
    """Reads the little that may follow the end, so that the upstream's connection can serve again; one that
    keeps its body open beyond a moment loses the connection instead."""
    with contextlib.suppress(TimeoutError, UpstreamFailure):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in raw:
                continue


async def _collected(raw: RawStream) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in raw:
        pieces.append(piece)
        size += len(piece)
        if size > MAX_EVENT:
            raise UpstreamBroken(f"an answer of more than {MAX_EVENT} bytes")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _checked(body: bytes) -> _Whole:
    try:
        seen = _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBroken(f"an answer that is no message: {error}") from error
    if seen.type != "message":
        raise error_from_event(jsonbytes.decode_any(body))
    return seen
