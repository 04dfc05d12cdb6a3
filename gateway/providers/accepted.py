"""What the readers of upstreams' answers share, whichever API the answer is of.

Knows HTTP answers as bytes: what they begin like, how they end, what they say about themselves. Must not know
what the bytes mean.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.events import Event
from gateway.messages.grammar import StreamBroken
from gateway.messages.sse_data import MAX_EVENT
from gateway.providers.base import UpstreamBroken, UpstreamTimeout
from gateway.providers.failures import MAX_ERROR_BODY
from gateway.providers.wire import HttpResponse, WireError, WireTimeout

__all__ = [
    "BLANK",
    "MAX_HEAD",
    "Running",
    "drained",
    "head_of",
    "json_object",
    "noted_headers",
    "object_in",
    "refusal_of",
    "rest_of",
    "translated",
]

BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before an answer without being part of it."""

MAX_HEAD = 256 * 1024
"""Bytes before an answer has begun."""

_NOTED_HEADERS = ("request-id", "apim-request-id", "x-request-id")
_DRAIN_SECONDS = 0.25


def noted_headers(response: HttpResponse) -> dict[str, str]:
    """What an answer says about itself, for audit."""
    return {name: response.headers[name] for name in _NOTED_HEADERS if name in response.headers}


@contextmanager
def translated() -> Iterator[None]:
    """The failures of wire and grammar in the words of the seam."""
    try:
        yield
    except WireTimeout as error:
        raise UpstreamTimeout(error.reason) from error
    except (WireError, StreamBroken) as error:
        raise UpstreamBroken(error.reason) from error


async def refusal_of(response: HttpResponse) -> bytes:
    """The body of an answer that is no success, as far as it comes: its status counts without it too."""
    try:
        return await response.body(MAX_ERROR_BODY)
    except WireError:
        return b""


async def head_of(chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """What has come when the first visible byte has, and whether it is JSON. Some upstreams send blanks while
    they think. Raises `UpstreamBroken` for HTML and for nothing."""
    head = b""
    async for piece in chunks:
        head += piece
        first = head.lstrip(BLANK)[:1]
        if first:
            if first == b"<":
                raise UpstreamBroken(f"a 200 answer that is HTML: {head[:120]!r}")
            return head, first in (b"{", b"[")
        if len(head) > MAX_HEAD:
            raise UpstreamBroken("an answer of nothing but blanks")
    raise UpstreamBroken("an empty answer")


async def rest_of(head: bytes, chunks: AsyncIterator[bytes]) -> bytes:
    """The whole body, at most `MAX_EVENT` bytes."""
    pieces, size = [head], len(head)
    async for piece in chunks:
        pieces.append(piece)
        size += len(piece)
        if size > MAX_EVENT:
            raise UpstreamBroken(f"an answer of more than {MAX_EVENT} bytes")
    return b"".join(pieces)


async def drained(chunks: AsyncIterator[bytes]) -> None:
    """Reads the little that may follow an answer, so that the connection can serve again; an upstream that keeps
    its body open beyond a moment, as one cut short does, loses the connection instead."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, WireError):
        return


async def json_object(response: HttpResponse) -> dict[str, Any]:
    """A 200 answer that has to be one JSON object. Raises `UpstreamFailure`."""
    with translated():
        body = await response.body(MAX_EVENT + 1)
    if len(body) > MAX_EVENT:
        raise UpstreamBroken(f"an answer of more than {MAX_EVENT} bytes")
    return object_in(body, "an answer")


def object_in(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that these bytes are. `what` they should be is for logs. Raises `UpstreamBroken`."""
    try:
        decoded = jsonbytes.decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBroken(f"{what} that is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise UpstreamBroken(f"{what} that is not a JSON object")
    return decoded


class Running:
    """An answer whose first event has come: see `UpstreamStream`."""

    def __init__(self, headers: Mapping[str, str], first: Event, rest: AsyncIterator[Event]) -> None:
        self.headers = headers
        self._first = first
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[Event]:
        yield self._first
        async for event in self._rest:
            yield event
