"""Plans how an answer goes over the wire: bytes, pauses, and what goes wrong where.

Pure: from a message, a pace and a fault to a list of steps that the server carries out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.messages import events, jsonbytes
from gateway.messages.errors import error_type
from gateway.messages.events import Event, encode_event
from gateway.messages.replay import message_events
from gateway.providers.scripted.scenario import Fault, Lie, Pace

__all__ = ["Answer", "Pause", "Step", "Stop", "answer", "error_answer"]

Stop = Literal["stall", "close", "reset"]
"""stall: say nothing until the client leaves; close, reset: end the connection without ending the body."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait that long."""

    seconds: float


Step = bytes | Pause | Stop


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `before` comes before the head, `steps` are the body's chunks and what is between.

    Steps that end without a `Stop` end the body properly. `whole`: sent with a length, not in chunks.
    """

    status: int
    headers: Mapping[str, str]
    steps: Sequence[Step]
    before: Sequence[Step] = ()
    whole: bool = False


def answer(message: Mapping[str, Any], *, stream: bool, pace: Pace, fault: Fault | None, request_id: str) -> Answer:
    """The answer to a request that the script accepts."""
    before: list[Step] = [Pause(pace.first_ms / 1000)] if pace.first_ms else []
    if fault is not None and fault.status is not None:
        return _status_fault(fault, before, request_id)
    if fault is not None and fault.stall and fault.after_events is None:
        return Answer(200, {}, [], before=[*before, "stall"])
    if fault is not None and fault.body is not None:
        return Answer(200, {"content-type": fault.content_type}, [fault.body.encode()], before, whole=True)
    head = {"request-id": request_id}
    if not stream:
        steps: list[Step] = [jsonbytes.encode(message)]
        if fault is not None and fault.cut is not None:
            steps = list(_cut_bytes(steps, fault))
        return Answer(200, {**head, "content-type": "application/json"}, steps, before, whole=len(steps) == 1)
    pieces = [*_stream(message, pace, fault)]
    chunks = _paced(_chunked(pieces, pace.chunk_bytes), pace.between_ms / 1000)
    sse = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    return Answer(200, {**head, **sse}, list(chunks), before)


def error_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """An error envelope."""
    return Answer(status, {**headers, "content-type": "application/json"}, [jsonbytes.encode(body)], whole=True)


def _status_fault(fault: Fault, before: Sequence[Step], request_id: str) -> Answer:
    status = fault.status or 500
    headers = {"request-id": request_id, **{name.lower(): value for name, value in fault.headers.items()}}
    if fault.body is not None:
        return Answer(
            status, {"content-type": fault.content_type, **headers}, [fault.body.encode()], before, whole=True
        )
    error = {"type": fault.type or error_type(status), "message": fault.message}
    body = jsonbytes.encode({"type": "error", "error": error, "request_id": request_id})
    return Answer(status, {"content-type": "application/json", **headers}, [body], before, whole=True)


def _stream(message: Mapping[str, Any], pace: Pace, fault: Fault | None) -> Iterator[Step]:
    found = list(message_events(message, pieces=pace.pieces))
    found[1:1] = [Event(events.PING, {"type": events.PING})] * pace.pings
    if fault is not None and fault.lie is not None:
        found = _lied(found, fault.lie)
    encoded: list[Step] = [encode_event(event) for event in found]
    yield from encoded if fault is None else _spoiled(encoded, fault)


def _spoiled(encoded: Sequence[Step], fault: Fault) -> Iterator[Step]:
    """The stream up to where it goes wrong, and how it does."""
    after = len(encoded) if fault.after_events is None else fault.after_events
    if fault.after_bytes is not None:
        yield from _cut_bytes(encoded, fault)
    elif fault.malformed:
        yield from encoded[:after]
        yield b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": \n\n'
        yield from encoded[after:]
    elif fault.error_event is not None:
        yield from encoded[:after]
        error = {"type": fault.error_event.type, "message": fault.error_event.message}
        yield encode_event(Event(events.ERROR, {"type": events.ERROR, "error": error}))
    elif fault.stall:
        yield from encoded[:after]
        yield "stall"
    else:
        yield from encoded[:after]
        if fault.cut in ("close", "reset"):
            yield fault.cut


def _cut_bytes(encoded: Sequence[Step], fault: Fault) -> Iterator[Step]:
    body = b"".join(step for step in encoded if isinstance(step, bytes))
    yield body[: len(body) // 2 if fault.after_bytes is None else fault.after_bytes]
    if fault.cut == "reset":
        yield "reset"
    elif fault.cut != "clean":
        yield "close"


def _lied(found: list[Event], lie: Lie) -> list[Event]:
    """A stream that breaks the grammar in one way."""
    start, *rest = found
    stray = Event(
        events.CONTENT_BLOCK_DELTA,
        {"type": events.CONTENT_BLOCK_DELTA, "index": 99, "delta": {"type": "text_delta", "text": "stray"}},
    )
    match lie:
        case "two_starts":
            return [start, start, *rest]
        case "no_start":
            return rest
        case "no_stop":
            return [event for event in found if event.name != events.MESSAGE_STOP]
        case "delta_without_block":
            return [start, stray, *rest]
        case "wrong_delta":
            wrong = {"type": "input_json_delta", "partial_json": "{"}
            return [_with(event, delta=wrong) if "delta" in event.data else event for event in found]
        case "bad_index":
            return [_with(event, index=event.data["index"] + 2) if _indexed(event) else event for event in found]
        case "interleaved":
            stops = [event for event in found if event.name == events.CONTENT_BLOCK_STOP]
            others = [event for event in found if event.name != events.CONTENT_BLOCK_STOP]
            return [*others[:-2], *stops, *others[-2:]]


def _indexed(event: Event) -> bool:
    return "index" in event.data


def _with(event: Event, **fields: Any) -> Event:
    return Event(event.name, {**event.data, **fields})


def _chunked(steps: Sequence[Step], size: int | None) -> Iterator[Step]:
    """Bytes recut to `size`, across events and characters; everything else stays in its place."""
    if size is None:
        yield from steps
        return
    waiting = b""
    for step in steps:
        if isinstance(step, bytes):
            waiting += step
            continue
        yield from _cut_to(waiting, size)
        waiting = b""
        yield step
    yield from _cut_to(waiting, size)


def _cut_to(data: bytes, size: int) -> Iterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


def _paced(steps: Iterator[Step], seconds: float) -> Iterator[Step]:
    for at, step in enumerate(steps):
        if at and seconds:
            yield Pause(seconds)
        yield step
