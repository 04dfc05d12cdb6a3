"""The readers of event streams over any bytes: the documented failures and no other, the same for any cut, bounded."""

import contextlib
import itertools
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_material import MESSAGES_STREAMS, cut, processor_seconds

from gateway.messages.events import Event
from gateway.messages.grammar import Grammar, StreamBroken
from gateway.messages.sse_data import EventTooLarge, SseData, SseDatum
from gateway.messages.sse_reader import SseDecoder
from gateway.relay.tap import StreamTap
from tests.support.hostile_answers import messages_text
from tests.support.hostile_checks import events_of

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MIB = 1024 * 1024


def data_of(pieces: list[bytes], limit: int) -> tuple[list[SseDatum], bool]:
    """What was read, and whether it was too large."""
    reader, found = SseData(limit), []
    try:
        for piece in pieces:
            found += reader.feed(piece)
        found += reader.close()
    except EventTooLarge:
        return found, True
    return found, False


@many
@given(st.data())
def test_any_bytes_are_the_same_events_however_they_are_cut(data: st.DataObject) -> None:
    whole = data.draw(MESSAGES_STREAMS)
    found, large = data_of([whole], 1000)
    again, cut_large = data_of(data.draw(cut(whole)), 1000)
    assert cut_large == large or cut_large
    assert again == found if not (large or cut_large) else True
    assert all(datum.data.count(b"\r") == 0 for datum in again)


def events_until_broken(pieces: list[bytes]) -> tuple[list[Event], bool]:
    decoder, found = SseDecoder(), []
    try:
        for piece in pieces:
            found += decoder.feed(piece)
        found += decoder.close()
    except StreamBroken:
        return found, True
    return found, False


@many
@given(st.data())
def test_a_decoder_gives_the_events_before_a_fault_and_then_says_so(data: st.DataObject) -> None:
    whole = data.draw(MESSAGES_STREAMS)
    found, broken = events_until_broken([whole])
    again, still = events_until_broken(data.draw(cut(whole)))
    assert (again, still) == (found, broken)
    assert all(isinstance(event.data, dict) and isinstance(event.name, str) for event in found)


def passed(pieces: list[bytes], beats: set[int] = frozenset()) -> tuple[bytes, StreamTap]:  # type: ignore[assignment]
    tap, out = StreamTap("model"), b""
    for at, piece in enumerate(pieces):
        out += tap.feed(piece)
        if at in beats and not tap.over:
            out += tap.heartbeat()
    out += tap.close()
    assert tap.feed(b"event: ping\ndata: {}\n\n") == b"" if tap.over else True
    return out, tap


@many
@given(st.data())
def test_what_passes_the_tap_is_legal_as_far_as_it_goes(data: st.DataObject) -> None:
    pieces = data.draw(cut(data.draw(MESSAGES_STREAMS)))
    beats = data.draw(st.sets(st.integers(0, max(0, len(pieces) - 1)), max_size=4))
    out, tap = passed(pieces, beats)
    grammar, last = Grammar(), ""
    for name, fields in events_of(out):
        grammar.check(Event(name, fields))
        last = name
        if name == "message_start":
            assert fields["message"]["model"] == "model"
    assert (last == "message_stop") == tap.finished
    assert "error" not in [name for name, _ in events_of(out)]


@many
@given(st.data())
def test_what_passes_the_tap_does_not_hang_on_how_it_is_cut(data: st.DataObject) -> None:
    whole = data.draw(MESSAGES_STREAMS)
    out, tap = passed([whole])
    again, other = passed(data.draw(cut(whole)))
    assert events_of(again) == events_of(out)
    assert (tap.finished, tap.failed, tap.broken is None, tap.usage) == (
        other.finished,
        other.failed,
        other.broken is None,
        other.usage,
    )


@many
@given(st.data())
def test_a_right_stream_passes_byte_for_byte_but_for_the_models_name(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1, max_size=6))
    events = messages_text(*texts)
    out, tap = passed(data.draw(cut(b"".join(events))))
    assert tap.finished
    assert out == b"".join(events).replace(b'"model-of-the-upstream"', b'"model"')


LARGE = json.dumps({"type": "x", "a": "a" * (2 * MIB)}, separators=(",", ":")).encode()
BURDENS = {
    "one large event": b"event: x\ndata: " + LARGE + b"\n\n",
    "one endless line": b"event: x" * (MIB // 4),
    "no line end": b"\x00" * (2 * MIB),
    "many empty data lines": b"data:\n" * (MIB // 16),
    "many data lines": b"data: 1,\n" * (MIB // 16),
    "nothing but line ends": b"\n" * (MIB // 4),
    "nothing but CR": b"\r" * (MIB // 4),
    "comments": b": still here\n\n" * (MIB // 64),
}


@pytest.mark.parametrize("name", BURDENS)
@pytest.mark.parametrize("reader", [SseData, SseDecoder, lambda: StreamTap("m")], ids=["data", "decoder", "tap"])
def test_a_burden_in_tiny_pieces_costs_time_and_memory_in_proportion(reader: type[SseData], name: str) -> None:
    """Reading again from the start for every piece would take minutes here."""
    burden = BURDENS[name]
    reading = reader()
    tracemalloc.start()
    try:
        with contextlib.suppress(StreamBroken), processor_seconds(20):
            for begin in range(0, len(burden), 100):
                reading.feed(burden[begin : begin + 100])
            reading.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * MIB


@pytest.mark.parametrize("line", [b"data: " + b"a" * 90 + b"\n", b"event: a\n", b"id: 1\n", b"a" * 99])
def test_an_event_that_never_ends_is_refused_at_its_limit(line: bytes) -> None:
    reader = SseData(10_000)
    with pytest.raises(EventTooLarge):
        for _ in itertools.repeat(None, 20_000):
            reader.feed(line)
