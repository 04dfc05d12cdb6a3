"""What reads JSON of strangers, from either side: any of it is translated, or refused in the documented way."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_material import CHAT_STREAMS, MESSAGES_STREAMS, Json, cut, encoded, json_values, processor_seconds

from gateway.messages.errors import ApiError
from gateway.messages.grammar import Grammar
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt import ANTHROPIC, AZURE_HOSTED, CHAT, DATABRICKS, adapt, untouched
from gateway.providers.base import UpstreamFailure, UpstreamRequest
from gateway.providers.chat import DIALECTS, ChatStream, to_chat
from gateway.providers.chat.answer import events_of_pieces
from gateway.providers.chat.request import Reading
from gateway.providers.estimate import estimate_tokens
from gateway.providers.failures import error_from_answer, error_from_event
from gateway.providers.wire import WireError
from gateway.providers.wire.answer import HEAD_LIMIT, Answer
from gateway.relay.glance import glance_at

many = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
CAPABILITIES = st.sampled_from([ANTHROPIC, AZURE_HOSTED, DATABRICKS, CHAT])

messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "user", "assistant"]), "content": json_values}
    ),
    max_size=4,
)
FIELDS = [
    *("tools", "tool_choice", "system", "thinking", "metadata", "context_management", "output_config", "stream"),
    *(
        "stop_sequences",
        "mcp_servers",
        "container",
        "speed",
        "service_tier",
        "temperature",
        "top_k",
        "field_of_the_future",
    ),
]
bodies = st.builds(
    lambda said, fields, odd: {"model": "m", "max_tokens": 100, "messages": said, **fields, **odd},
    st.one_of(messages, json_values),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4),
    st.dictionaries(st.sampled_from(["model", "max_tokens", "messages"]), json_values, max_size=1),
)


def reading() -> Reading:
    asked = {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
        "stop_sequences": ["a", "bc", "def", "g", "hi"],
    }
    return to_chat(MessagesRequest.parse(encoded(asked)), DIALECTS["generic"], upstream="up").reading


READING = reading()


@many
@given(bodies, st.sampled_from(sorted(DIALECTS)), CAPABILITIES)
def test_any_body_is_translated_or_refused_in_the_words_of_the_api(body: Json, dialect: str, lacks: Any) -> None:
    sent = UpstreamRequest(encoded(body), {"anthropic-beta": "a,b"}, "req_1", "")
    glance_at(sent.body)
    untouched(sent.body, lacks, sent.headers)
    with processor_seconds(20):
        try:
            parsed = MessagesRequest.parse(sent.body)
            adapted = adapt(sent, lacks, upstream="up")
            estimate = estimate_tokens(adapted.request)
            made = to_chat(adapt(sent, CHAT, upstream="up").request, DIALECTS[dialect], upstream="up")
        except ApiError as refusal:
            assert 400 <= refusal.status < 500, refusal
            return
    assert estimate >= 0
    assert parsed.model
    json.loads(adapted.body)
    json.loads(made.encode())


@many
@given(st.lists(json_values, max_size=6), st.booleans())
def test_any_chunks_of_a_chat_answer_are_events_or_a_failure(chunks: list[Json], clean: bool) -> None:
    stream, grammar = ChatStream(READING), Grammar()
    shaped: list[Json] = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in chunks]
    try:
        for chunk in [*shaped, *(one for one in chunks if isinstance(one, dict))]:
            for event in stream.feed(chunk):
                grammar.check(event)
        for event in stream.close(clean=clean):
            grammar.check(event)
    except UpstreamFailure as failure:
        assert 400 <= failure.answer.status < 600
        return
    assert grammar.finished


async def _pieces(found: list[bytes]) -> AsyncIterator[bytes]:
    for piece in found:
        if piece:
            yield piece


@many
@given(st.data())
def test_any_bytes_of_a_chat_server_are_a_legal_stream_or_a_failure(data: st.DataObject) -> None:
    pieces = data.draw(cut(data.draw(st.one_of(CHAT_STREAMS, MESSAGES_STREAMS))))

    async def read() -> None:
        grammar = Grammar()
        try:
            async for event in events_of_pieces(_pieces(pieces), READING, 5):
                grammar.check(event)
        except UpstreamFailure as failure:
            assert 400 <= failure.answer.status < 600
            return
        assert grammar.finished

    asyncio.run(read())


@many
@given(st.integers(100, 999), json_values, st.binary(max_size=30))
def test_any_error_is_a_status_a_client_can_be_given_and_never_its_own_credentials(
    status: int, body: Json, noise: bytes
) -> None:
    failures = [
        error_from_answer(status, {"retry-after": noise.decode("latin-1")}, one) for one in (encoded(body), noise)
    ]
    if isinstance(body, dict):
        failures += [error_from_event(body), error_from_event({"type": "error", "error": body})]
    for failure in failures:
        assert failure.answer.status >= 400
        assert failure.answer.status not in (401, 403)
        assert failure.answer.type and failure.answer.message
        for value in failure.answer.headers.values():
            assert value.isascii() and value.isprintable()


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200\r\n",
        b"HTTP/1.1 999 X\r\n",
        b"HTTP/2 200\r\n",
        b"",
    ]
)
LINES = st.sampled_from(
    [
        *(b"content-length: 5\r\n", b"content-length: -1\r\n", b"content-length: 5, 5\r\n", b"content-length: 6\r\n"),
        *(
            b"transfer-encoding: chunked\r\n",
            b"transfer-encoding: chunked, chunked\r\n",
            b"Transfer-Encoding : gzip\r\n",
        ),
        *(
            b"connection: close\r\n",
            b"upgrade: h2c\r\n",
            b" folded\r\n",
            b": none\r\n",
            b"a" * 70_000 + b": b\r\n",
            b"\r\n",
        ),
        *(b"5\r\nhello\r\n", b"fffffffffffffffff\r\n", b"5;x=y\r\nhello\r\n0\r\n", b"hello", b"\n", b"\x00"),
    ]
)


@many
@given(st.data())
def test_any_bytes_of_a_server_are_an_answer_or_a_wire_error_and_no_more_than_was_sent(data: st.DataObject) -> None:
    whole = data.draw(HEADS) + b"".join(data.draw(st.lists(st.one_of(LINES, st.binary(max_size=6)), max_size=8)))
    answer, got = Answer(bodyless=data.draw(st.booleans())), b""
    try:
        for piece in data.draw(cut(whole)):
            answer.feed(piece)
            got += answer.take()
        answer.end()
    except WireError:
        return
    finally:
        answer.close()
    assert len(got) <= len(whole)
    assert sum(len(name) + len(value) for name, value in answer.headers.items()) <= HEAD_LIMIT + 4 * len(answer.headers)
    assert not answer.has_head or 200 <= answer.status <= 599
