"""Answers over real sockets, as events and as bytes: begun or failed, however the upstream misbehaves."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from answering import CLOSE, EVENTS, GATE, RESET, Answer, AnsweringStarter, Asked, answered, chunked, event, zipped

from gateway.messages.errors import InvalidRequest
from gateway.messages.events import MESSAGE_START
from gateway.providers.adapt import AZURE, DATABRICKS
from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.base import (
    RelayProvider,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamTimeout,
)
from gateway.providers.credentials import ClientCredentials, StaticHeaders
from gateway.providers.wire import HttpClient

KEY = StaticHeaders("x-api-key", "secret")
BODY = b'{ "model":"m","max_tokens":9, "stream":true,"messages":[{"role":"user","content":"\\u0067o"}],"new":[1.0] }'
ASKED = UpstreamRequest(BODY, {"anthropic-version": "2026-10-21", "anthropic-beta": "x-1"}, "req_1")
WHOLE = b"".join(EVENTS)
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
           "stop_sequence": None, "content": [{"type": "text", "text": "hi"}],
           "usage": {"input_tokens": 3, "output_tokens": 5}}  # fmt: skip


async def relayed(provider: RelayProvider, asked: UpstreamRequest = ASKED) -> tuple[bytes, str]:
    async with provider.relay(asked) as raw:
        return b"".join([piece async for piece in raw]), raw.content_type


async def names(provider: RelayProvider, asked: UpstreamRequest = ASKED) -> list[str]:
    async with provider.stream(asked) as stream:
        return [event.name async for event in stream]


async def failures(provider: RelayProvider) -> list[UpstreamFailure]:
    """How both ways fail."""
    found = []
    for attempt in (names, relayed):
        with pytest.raises(UpstreamFailure) as caught:
            await attempt(provider)
        found.append(caught.value)
    await provider.aclose()
    return found


async def test_a_relayed_request_goes_as_it_came_and_its_answer_too(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: chunked(*EVENTS))
    provider = AnthropicProvider(server.url, KEY)
    assert provider.relays(ASKED)
    assert await relayed(provider) == (WHOLE, "text/event-stream")
    assert await relayed(provider) == (WHOLE, "text/event-stream")
    await provider.aclose()
    assert server.asked[0].body == BODY
    assert server.connections == 1
    headers = server.asked[0].headers
    assert headers["anthropic-version"] == "2026-10-21"
    assert headers["anthropic-beta"] == "x-1"
    assert headers["x-api-key"] == "secret"


async def test_only_the_models_name_is_replaced(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: chunked(*EVENTS))
    provider = AnthropicProvider(server.url, KEY)
    twice = BODY.replace(b'"new"', b'"model":"other","new"')
    for body in (BODY, twice):
        await relayed(provider, UpstreamRequest(body, {}, model="real-näme"))
        await names(provider, UpstreamRequest(body, {}, model="real-näme"))
    await provider.aclose()
    for asked in server.asked:
        assert asked.json == {**json.loads(BODY), "model": "real-näme"}
        assert asked.body.count(b'"model"') == 1
        assert b'"\\u0067o"' in asked.body
        assert b"[1.0]" in asked.body


async def test_a_body_that_is_no_object_cannot_be_renamed() -> None:
    provider = AnthropicProvider("http://127.0.0.1:1", KEY)
    for body in (b"", b"[]", b"{"):
        with pytest.raises(InvalidRequest):
            await relayed(provider, UpstreamRequest(body, {}, model="m"))
    await provider.aclose()


def test_what_would_have_to_be_adapted_is_not_relayed() -> None:
    signed = UpstreamRequest(BODY.replace(b'"new"', b'"signature":"bh1.abc","new"'), {})
    old = UpstreamRequest(BODY, {})
    assert AnthropicProvider("http://h", KEY).relays(old)
    assert not AnthropicProvider("http://h", KEY).relays(signed)
    assert not AnthropicProvider("http://h", KEY, capabilities=DATABRICKS).relays(old)
    assert AnthropicProvider("http://h", KEY, capabilities=AZURE).relays(UpstreamRequest(b'{"model":"m"}'))


@pytest.mark.parametrize("kept", range(len(EVENTS)))
@pytest.mark.parametrize("end", [CLOSE, RESET, "clean"])
async def test_a_stream_cut_after_any_event_is_broken_and_never_an_end(
    answering: AnsweringStarter, kept: int, end: str
) -> None:
    cut: Answer = chunked(*EVENTS[:kept]) if end == "clean" else [*chunked(*EVENTS[:kept], end=False), end]
    server = await answering(lambda _: cut)
    provider = AnthropicProvider(server.url, KEY)
    seen = 0
    with pytest.raises(UpstreamBroken):
        async with provider.stream(ASKED) as stream:
            async for _ in stream:
                seen += 1
    assert seen <= kept
    if end == "clean" and kept > 0:
        assert await relayed(provider) == (b"".join(EVENTS[:kept]), "text/event-stream")  # its reader will see
    else:
        with pytest.raises(UpstreamBroken):
            await relayed(provider)
    await provider.aclose()


ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
BARE = b'data: {"error":{"message":"boom","code":503}}\n\n'
FAILED: list[tuple[Any, int, str]] = [
    (chunked(ERROR), 529, "Overloaded"),
    (chunked(event("ping"), b": busy\n\n", ERROR), 529, "Overloaded"),
    (chunked(*[ERROR[at : at + 1] for at in range(len(ERROR))]), 529, "Overloaded"),
    (chunked(ERROR.strip()), 529, "Overloaded"),
    (chunked(BARE), 529, "boom"),
    (answered(200, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}), 429, "slow"),
    (answered(200, {"error": {"message": "boom", "type": "server_error"}}), 500, "boom"),
    (answered(200, {"error": "boom"}, content_type="text/event-stream"), 500, "boom"),
    (answered(200, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow"}), 429, "slow"),
    (zipped(200, json.dumps({"error": {"message": "boom"}}).encode()), 500, "boom"),
    (zipped(529, ERROR.partition(b"data: ")[2]), 529, "Overloaded"),
    (answered(503, b"<html>adb-1.azuredatabricks.net</html>", content_type="text/html"), 529,
     "The upstream model service is overloaded or not ready yet."),
    (answered(429, b"odd", retry_after="3", content_encoding="br"), 429,
     "The upstream model service answered with status 429."),
    ([answered(529, ERROR)[:-9], CLOSE], 529, "The upstream model service is overloaded or not ready yet."),
    (answered(429, b"", retry_after="3"), 429, "The upstream model service answered with status 429."),
    (chunked(event("error", error={"type": "authentication_error", "message": "sk-1"})), 500,
     "The gateway's credential was refused by its upstream model service. Tell the gateway's operator."),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "status", "message"), FAILED)
async def test_an_error_before_the_first_event_has_its_status_in_every_disguise(
    answering: AnsweringStarter, answer: Answer, status: int, message: str
) -> None:
    server = await answering(lambda _: answer)
    for failure in await failures(AnthropicProvider(server.url, KEY)):
        assert isinstance(failure, UpstreamError)
        assert (failure.answer.status, failure.answer.message) == (status, message)


BROKEN: list[Any] = [
    answered(200, b"<html>please sign in</html>", content_type="text/html"),
    answered(200, b"\n <!DOCTYPE html>", content_type="text/event-stream"),
    answered(200, b""),
    answered(200, b"   \r\n"),
    answered(200, b'"text"'),
    answered(200, b'{"type":"message"'),
    answered(200, b"[1]"),
    chunked(b"event: content_block_start\ndata: {}\n\n"),
    chunked(b"data: {broken\n\n"),
    chunked(b"welcome to the jungle\n\n"),
    chunked(b"data: [DONE]\n\n"),
    chunked(b"data: " + b"x" * 300_000),
    chunked(*[b": still busy\n\n" * 1000] * 20),
    chunked(*[b"\n" * 100_000] * 3),
    [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", CLOSE],
    [b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{", CLOSE],
    [b"SMTP ready\r\n\r\n", CLOSE],
    answered(200, b"not gzip at all", content_encoding="gzip"),
    answered(200, b"x", content_encoding="br"),
    zipped(200, WHOLE)[:-20],
]


@pytest.mark.parametrize("answer", [part if isinstance(part, list) else [part, CLOSE] for part in BROKEN])
async def test_what_is_no_answer_is_broken_before_anything_was_told(
    answering: AnsweringStarter, answer: Answer
) -> None:
    server = await answering(lambda _: answer)
    for failure in await failures(AnthropicProvider(server.url, KEY)):
        assert isinstance(failure, UpstreamBroken), failure
        assert failure.answer.status == 502


async def test_a_compressed_stream_is_read_although_nobody_asked_for_it(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: zipped(200, WHOLE, content_type="text/event-stream"))
    provider = AnthropicProvider(server.url, KEY)
    assert await relayed(provider) == (WHOLE, "text/event-stream")
    assert (await names(provider))[-1] == "message_stop"
    await provider.aclose()
    assert server.asked[0].headers["accept-encoding"] == "identity"


async def test_an_answer_that_is_not_streamed_comes_whole_with_its_type(answering: AnsweringStarter) -> None:
    encoded = json.dumps(MESSAGE).encode()
    server = await answering(lambda _: chunked(b" ", encoded[:40], encoded[40:], content_type="application/json"))
    provider = AnthropicProvider(server.url, KEY)
    async with provider.relay(ASKED) as raw:
        assert raw.content_type == "application/json"
        assert [piece async for piece in raw] == [b" " + encoded]
    assert (await names(provider))[0] == MESSAGE_START
    await provider.aclose()


async def test_silence_before_the_first_event_is_a_timeout(answering: AnsweringStarter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    server = await answering(lambda _: [head, GATE])
    for failure in await failures(AnthropicProvider(server.url, KEY, client=HttpClient(silence=0.1))):
        assert isinstance(failure, UpstreamTimeout)


async def test_the_stream_is_entered_with_the_first_event_and_not_before(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [*chunked(EVENTS[0], end=False), GATE, *chunked(*EVENTS[1:])[1:]])
    provider = AnthropicProvider(server.url, KEY)
    async with asyncio.timeout(20):
        async with provider.relay(ASKED) as raw:
            pieces = aiter(raw)
            assert await anext(pieces) == EVENTS[0]
            server.gate.set()
            assert b"".join([piece async for piece in pieces]) == b"".join(EVENTS[1:])
    await provider.aclose()


async def test_leaving_a_relay_early_closes_the_connection(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [*chunked(*EVENTS[:3], end=False), GATE])
    client = HttpClient()
    provider = AnthropicProvider(server.url, KEY, client=client)
    async with provider.relay(ASKED):
        assert client.open_connections == 1
    assert client.open_connections == 0
    await provider.aclose()


async def test_a_break_in_the_middle_of_a_relay_is_told(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [*chunked(*EVENTS[:4], end=False), GATE, RESET])
    provider = AnthropicProvider(server.url, KEY)
    with pytest.raises(UpstreamBroken):
        async with provider.relay(ASKED) as raw:
            async for _ in raw:
                server.gate.set()
    await provider.aclose()


async def test_a_platforms_own_fields_are_left_out_of_events(answering: AnsweringStarter) -> None:
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}
    server = await answering(lambda _: chunked(*EVENTS[:-1], event("message_stop", **metrics)))
    provider = AnthropicProvider(server.url, KEY)
    async with provider.stream(ASKED) as stream:
        found = [event.data async for event in stream]
    await provider.aclose()
    assert found[-1] == {"type": "message_stop"}


TOKENS = {"error_code": "401", "message": "expired"}


def guarded(accepted: str | None, tokens: list[str]) -> Any:
    """Answers of a host that gives tokens and takes only one of them."""

    def answer(asked: Asked) -> Answer:
        if asked.target == "/oidc/v1/token":
            tokens.append(f"tok{len(tokens) + 1}")
            return answered(200, {"access_token": tokens[-1], "expires_in": 3600})
        if asked.headers.get("authorization") == f"Bearer {accepted}":
            return chunked(*EVENTS)
        return answered(401, TOKENS)

    return answer


async def test_a_refused_token_is_renewed_once_and_the_request_sent_again(answering: AnsweringStarter) -> None:
    tokens: list[str] = []
    server = await answering(guarded("tok2", tokens))
    client = HttpClient()
    credential = ClientCredentials.databricks(client, server.url, "id", "secret")
    provider = AnthropicProvider(server.url, credential, client=client)
    assert (await names(provider))[-1] == "message_stop"
    assert tokens == ["tok1", "tok2"]
    assert await relayed(provider) == (WHOLE, "text/event-stream")
    assert tokens == ["tok1", "tok2"]
    await provider.aclose()


async def test_a_token_that_is_refused_again_is_a_failure_of_the_gateway(answering: AnsweringStarter) -> None:
    tokens: list[str] = []
    server = await answering(guarded(None, tokens))
    client = HttpClient()
    credential = ClientCredentials.databricks(client, server.url, "id", "secret")
    provider = AnthropicProvider(server.url, credential, client=client)
    for failure in await failures(provider):
        assert failure.answer.status == 500
        assert failure.answer.headers == {"x-should-retry": "false"}
    assert tokens == ["tok1", "tok2"]  # the second failure came too soon after for another
    sent = [asked.headers["authorization"] for asked in server.asked if asked.target == "/v1/messages"]
    assert sent == ["Bearer tok1", "Bearer tok2", "Bearer tok2"]


async def test_many_requests_with_a_dead_token_fetch_one_new_one(answering: AnsweringStarter) -> None:
    tokens: list[str] = []
    server = await answering(guarded("tok2", tokens))
    client = HttpClient()
    credential = ClientCredentials.databricks(client, server.url, "id", "secret")
    provider = AnthropicProvider(server.url, credential, client=client)
    found = await asyncio.gather(*(relayed(provider) for _ in range(20)))
    assert found == [(WHOLE, "text/event-stream")] * 20
    assert tokens == ["tok1", "tok2"]
    await provider.aclose()


async def test_a_fixed_secret_that_is_refused_is_not_tried_again(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: answered(401, TOKENS))
    assert len(await failures(AnthropicProvider(server.url, KEY))) == 2
    assert len(server.asked) == 2


REQUEST_IDS: list[Mapping[str, str]] = [{"request_id": "req_up"}, {"apim_request_id": "a"}, {"x_request_id": "x"}]


@pytest.mark.parametrize("headers", REQUEST_IDS)
async def test_the_upstreams_ids_are_noted_and_nothing_else(
    answering: AnsweringStarter, headers: Mapping[str, str]
) -> None:
    server = await answering(
        lambda _: answered(
            200, WHOLE, **{"content_type": "text/event-stream", "anthropic_organization_id": "o", **headers}
        )
    )
    provider = AnthropicProvider(server.url, KEY)
    noted = {name.replace("_", "-"): value for name, value in headers.items()}
    async with provider.relay(ASKED) as raw:
        assert raw.headers == noted
    async with provider.stream(ASKED) as stream:
        assert stream.headers == noted
    await provider.aclose()
