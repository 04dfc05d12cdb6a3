"""Reads an accepted answer of a chat server, from bytes to Messages events.

Goes by what the bytes are and not by what the content type claims: servers answer 200 with JSON for a stream,
with errors, with HTML. Must not know URLs or credentials.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.events import Event
from gateway.messages.sse_data import EventTooLarge, SseData, SseDatum
from gateway.providers.accepted import BLANK, drained, head_of, object_in, rest_of, translated
from gateway.providers.base import UpstreamBroken
from gateway.providers.chat.request import Reading
from gateway.providers.chat.stream import ChatStream
from gateway.providers.failures import error_from_event
from gateway.providers.wire import HttpResponse

__all__ = ["events_of_pieces", "read_answer"]


async def read_answer(response: HttpResponse, reading: Reading, input_tokens: int) -> AsyncGenerator[Event, None]:
    """The events of a 200 answer: `message_start` first, `message_stop` last. Raises an `UpstreamFailure` for
    an error in any disguise and for anything that is no answer.

    Leaving the response closes the connection of an answer that is cut on our side.
    """
    chunks = response.chunks()
    with translated():
        async for event in events_of_pieces(chunks, reading, input_tokens):
            yield event
    await drained(chunks)


async def events_of_pieces(
    pieces: AsyncIterator[bytes], reading: Reading, input_tokens: int
) -> AsyncGenerator[Event, None]:
    """The same from the bytes alone, however they are cut."""
    stream = ChatStream(reading, input_tokens=input_tokens)
    head, is_json = await head_of(pieces)
    if is_json:
        body = await rest_of(head, pieces)
        for event in [*stream.feed(_whole(body)), *stream.close(clean=False)]:
            yield event
        return
    data, ended = SseData(), False
    piece: bytes | None = head
    try:
        while piece is not None and not ended:
            for datum in data.feed(piece):
                ended = ended or _ends(datum)
                for event in [] if ended else stream.feed(_chunk(datum)):
                    yield event
            if stream.done:
                return
            if not ended:
                piece = await anext(pieces, None)
        for datum in () if ended else data.close():
            ended = ended or _ends(datum)
            for event in [] if ended else stream.feed(_chunk(datum)):
                yield event
    except EventTooLarge as error:
        raise UpstreamBroken(str(error)) from error
    for event in stream.close(clean=ended):
        yield event


def _ends(datum: SseDatum) -> bool:
    return datum.data.strip() == b"[DONE]"


def _chunk(datum: SseDatum) -> dict[str, Any]:
    if not datum.data.strip():
        return {}
    chunk = object_in(datum.data, "a chunk")
    if datum.name == b"error" and "error" not in chunk:
        raise error_from_event({"error": chunk})
    return chunk


def _whole(body: bytes) -> dict[str, Any]:
    """A whole answer, or an error; front doors put either into a list."""
    body = body.strip(BLANK)
    try:
        decoded = jsonbytes.decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamBroken(f"an answer that is not JSON: {error}") from error
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        raise UpstreamBroken("an answer that is not a JSON object")
    if not isinstance(decoded.get("choices"), list):
        raise error_from_event(decoded)
    return decoded
