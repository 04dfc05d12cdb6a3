"""Whatever bytes an upstream answers, cut wherever: a legal stream that ends in message_stop, or a failure."""

from collections.abc import AsyncIterator
from typing import cast

from answering import EVENTS
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages.events import MESSAGE_START, MESSAGE_STOP
from gateway.messages.grammar import Grammar
from gateway.providers.base import UpstreamFailure
from gateway.providers.messages_answer import open_raw, read_answer
from gateway.providers.wire import HttpResponse, WireError

PARTS = [
    *EVENTS,
    b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
    b'data: {"error":"x"}\n\n',
    b'{"type":"message","content":[{"type":"text","text":"hi"}]}',
    b'{"type":"message","content":[{"type":"tool_use","id":"t","name":"n","input":{}}],"usage":{"output_tokens":"x"}}',
    b'{"error":{"message":"m","code":429}}',
    b"<html>",
    b": comment\n\n",
    b"\r\n",
    b"\xef\xbb\xbf",
    b"\xff",
]  # fmt: skip


class Bytes:
    """An answer in memory that breaks off or ends."""

    def __init__(self, pieces: list[bytes], breaks: bool) -> None:
        self.headers: dict[str, str] = {}
        self.status = 200
        self._pieces = pieces
        self._breaks = breaks

    async def _all(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise WireError("broke off")

    def chunks(self) -> AsyncIterator[bytes]:
        return self._all()


@st.composite
def answers(draw: st.DrawFn) -> Bytes:
    whole = b"".join(
        draw(st.one_of(st.lists(st.sampled_from(PARTS), max_size=10), st.just(EVENTS), st.lists(st.binary(max_size=9))))
    )
    whole = whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(whole))), max_size=6)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return Bytes([piece for piece in pieces if piece], draw(st.booleans()))


@settings(max_examples=150, deadline=None)
@given(answer=answers())
async def test_events_of_any_bytes_are_legal_to_the_end_or_end_in_a_failure(answer: Bytes) -> None:
    grammar, seen = Grammar(), []
    try:
        async for event in read_answer(cast(HttpResponse, answer)):
            grammar.check(event)
            seen.append(event.name)
    except UpstreamFailure as failure:
        assert failure.answer.status >= 400
    else:
        assert (seen[0], seen[-1]) == (MESSAGE_START, MESSAGE_STOP)
    assert seen[:1] in ([], [MESSAGE_START])


@settings(max_examples=150, deadline=None)
@given(answer=answers())
async def test_a_relay_of_any_bytes_begins_like_an_answer_or_not_at_all(answer: Bytes) -> None:
    whole = b"".join(answer._pieces)
    got = b""
    try:
        raw = await open_raw(cast(HttpResponse, answer))
        assert raw.content_type == "application/json" or b"message_start" in whole
        async for piece in raw:
            assert piece
            got += piece
    except UpstreamFailure:
        pass
    else:
        assert got == whole
    assert whole.startswith(got)
