"""Reads an accepted answer of the Messages API: as events, or as the bytes it came in.

Goes by what the bytes are and not by what the content type claims: upstreams and the front doors before them
answer 200 with JSON for a stream, with errors, with HTML. Must not know URLs or credentials.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from gateway.messages.events import ERROR, MESSAGE_START, Event
from gateway.messages.grammar import Grammar, StreamBroken
from gateway.messages.replay import message_events
from gateway.messages.sse_reader import SseDecoder, read_events
from gateway.providers.accepted import MAX_HEAD, drained, head_of, noted_headers, object_in, rest_of, translated
from gateway.providers.base import UpstreamBroken, UpstreamTimeout
from gateway.providers.failures import error_from_event
from gateway.providers.wire import HttpResponse, WireError, WireTimeout

__all__ = ["RawAnswer", "open_raw", "read_answer"]

EVENT_STREAM = "text/event-stream"
JSON = "application/json"

PLATFORM_FIELDS = ("amazon-bedrock-invocationMetrics",)
"""What a platform adds to events, that is not the Messages API's."""


async def read_answer(response: HttpResponse) -> AsyncGenerator[Event, None]:
    """The events of a 200 answer, `message_start` first, `message_stop` last, all checked by the grammar.

    A whole message in JSON becomes the events it would have been. Raises `UpstreamError` for an error in any
    disguise, `UpstreamBroken` for everything else that is no answer.
    """
    with translated():
        chunks = response.chunks()
        head, is_json = await head_of(chunks)
        if is_json:
            for event in _events_of(await rest_of(head, chunks)):
                yield event
            return
        started = False
        async with aclosing(read_events(_Chained(head, chunks))) as found:
            async for event in found:
                if event.name == ERROR:
                    raise error_from_event(event.data)
                started = started or event.name == MESSAGE_START
                if started:  # a ping may come before
                    yield _own(event)
        await drained(chunks)


async def open_raw(response: HttpResponse) -> "RawAnswer":
    """A 200 answer as bytes, once it has begun like one: a stream's first event has come, or the whole of a JSON
    body. Raises as `read_answer`."""
    with translated():
        chunks = response.chunks()
        head, is_json = await head_of(chunks)
        if is_json:
            head = await rest_of(head, chunks)
            _message_of(head)
        elif not head.startswith(b"event: message_start"):
            head = await _first_event(head, chunks)
    return RawAnswer(noted_headers(response), JSON if is_json else EVENT_STREAM, head, chunks)


class RawAnswer:
    """See `RawStream`."""

    __slots__ = ("_chunks", "_head", "content_type", "headers")

    def __init__(
        self, headers: Mapping[str, str], content_type: str, head: bytes, chunks: AsyncIterator[bytes]
    ) -> None:
        self.headers = headers
        self.content_type = content_type
        self._head = head
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        try:
            return await self._chunks.__anext__()
        except WireTimeout as error:
            raise UpstreamTimeout(error.reason) from error
        except WireError as error:
            raise UpstreamBroken(error.reason) from error


class _Chained:
    """A piece that was taken already, then the rest. Needs no closing, as the rest does not."""

    def __init__(self, head: bytes, chunks: AsyncIterator[bytes]) -> None:
        self._head = head
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return await self._chunks.__anext__()


async def _first_event(head: bytes, chunks: AsyncIterator[bytes]) -> bytes:
    """What has come when the stream has begun as one: with `message_start`. Raises for anything else."""
    decoder, grammar = SseDecoder(MAX_HEAD), Grammar()
    piece = head
    while True:
        for event in decoder.feed(piece):
            grammar.check(event)
            if event.name == ERROR:
                raise error_from_event(event.data)
            if grammar.started:
                return head
        if len(head) > MAX_HEAD:
            raise UpstreamBroken(f"a stream without a first event in {MAX_HEAD} bytes")
        found = await anext(chunks, b"")
        if not found:
            break
        piece = found
        head += piece
    for event in decoder.close():
        grammar.check(event)
        if event.name == ERROR:
            raise error_from_event(event.data)
    raise UpstreamBroken("the stream ended before message_stop" if grammar.started else "the stream is empty")


def _events_of(body: bytes) -> list[Event]:
    """The events that a whole message would have been."""
    message = _message_of(body)
    content = message.get("content")
    if not isinstance(content, list) or not all(
        isinstance(block, dict) and isinstance(block.get("type"), str) for block in content
    ):
        raise StreamBroken("a message without a list of typed blocks")
    grammar = Grammar()
    try:
        found = list(message_events(message))
    except (ValueError, TypeError) as error:
        raise StreamBroken(f"a message that makes no sense: {error}") from error
    for event in found:
        grammar.check(event)
    return found


def _message_of(body: bytes) -> dict[str, Any]:
    message = object_in(body, "an answer")
    if message.get("type") != "message":
        raise error_from_event(message)
    for name in PLATFORM_FIELDS:
        message.pop(name, None)
    return message


def _own(event: Event) -> Event:
    for name in PLATFORM_FIELDS:
        event.data.pop(name, None)
    return event
