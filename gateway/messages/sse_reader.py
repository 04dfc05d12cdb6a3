"""The one reader of Messages streams: bytes in, checked Messages events out.

Strict about order and content; how bytes become data is `sse_data`'s business. Knows nothing of HTTP.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.events import ERROR, MESSAGE_STOP, Event
from gateway.messages.grammar import Grammar, StreamBroken
from gateway.messages.sse_data import MAX_EVENT, EventTooLarge, SseData, SseDatum

__all__ = ["MAX_EVENT", "SseDecoder", "StreamBroken", "read_events"]


class SseDecoder:
    """Cuts bytes into Messages events. Chunks may end anywhere."""

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._data = SseData(max_event)
        self._broken: StreamBroken | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes. Raises `StreamBroken`. Events before one that is no
        JSON come first, and the next call raises; one that is too large takes its chunk with it."""
        return self._checked(lambda: self._data.feed(chunk))

    def close(self) -> list[Event]:
        """The last event, when the stream ended without the blank line after it."""
        return self._checked(self._data.close)

    def _checked(self, read: Callable[[], list[SseDatum]]) -> list[Event]:
        if self._broken is not None:
            raise self._broken
        found: list[Event] = []
        try:
            for datum in read():
                event = _event(*datum)
                if event is not None:
                    found.append(event)
        except EventTooLarge as error:
            self._broken = StreamBroken(str(error))
        except StreamBroken as error:
            self._broken = error
        if self._broken is not None and not found:
            raise self._broken
        return found


def _event(name: bytes, data: bytes) -> Event | None:
    if not data or data == b"[DONE]":  # not ours, but some servers close with OpenAI's end mark
        return None
    try:
        decoded: Any = jsonbytes.decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StreamBroken(f"an event that is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise StreamBroken("an event that is not a JSON object")
    kind = decoded.get("type")
    if not isinstance(kind, str):
        # Servers that answer 200 and then fail send a bare {"error": ...}.
        kind = name.decode("utf-8", "replace") or (ERROR if "error" in decoded else "")
        if not kind:
            raise StreamBroken("an event without a name or type")
    return Event(kind, decoded)


async def read_events(chunks: AsyncIterable[bytes], *, max_event: int = MAX_EVENT) -> AsyncGenerator[Event, None]:
    """The events of one Messages stream, up to `message_stop` or an `error` event, whichever comes.

    Every event has passed the grammar; pings and unknown events are passed on. Raises `StreamBroken` on
    anything that is no such stream, and when the bytes end before it does.
    """
    decoder = SseDecoder(max_event)
    grammar = Grammar()
    async for chunk in chunks:
        for event in decoder.feed(chunk):
            grammar.check(event)
            yield event
            if event.name in (MESSAGE_STOP, ERROR):
                return
    for event in decoder.close():
        grammar.check(event)
        yield event
        if event.name in (MESSAGE_STOP, ERROR):
            return
    raise StreamBroken("the stream ended before message_stop" if grammar.started else "the stream is empty")
