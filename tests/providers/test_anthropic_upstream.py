"""The Anthropic provider against a real socket: what it sends, what it yields, how it fails, how it lets go."""

import asyncio
import json
from typing import Any

import pytest
from answering import AnsweringStarter, Asked, answered
from upstream_process import Scripted

from gateway.messages.assemble import Assembler
from gateway.messages.request import MessagesRequest
from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.base import (
    Provider,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailure,
    UpstreamRequest,
    UpstreamTimeout,
)
from gateway.providers.credentials import StaticHeaders
from gateway.providers.endpoints import Endpoints
from gateway.providers.wire import HttpClient

SECRET = "upstream-secret"
KEY = StaticHeaders("x-api-key", SECRET)
ASKED = UpstreamRequest(
    b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"go"}]}', {}, "req_1"
)
SPOKEN = {
    "blocks": [
        {"thinking": "hm"},
        {"text": "naïve 😀 日本"},
        {"tool_use": {"name": "B", "input": {"x": "é"}, "id": "t1"}},
        {"raw": {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}},
    ]
}


async def sample(provider: Provider, asked: UpstreamRequest = ASKED) -> Assembler:
    message = Assembler()
    async with provider.stream(asked) as stream:
        async for event in stream:
            message.feed(event)
    return message


async def failure(provider: Provider) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await sample(provider)
    await provider.aclose()
    return caught.value


@pytest.mark.parametrize("pace", [{}, {"chunk_bytes": 1}, {"chunk_bytes": 7, "pings": 2}, {"between_ms": 1}])
async def test_a_streamed_answer_arrives_whole_however_it_is_cut(scripted: Scripted, pace: dict[str, Any]) -> None:
    upstream = await scripted({"turns": [{**SPOKEN, "pace": pace}]})
    provider = AnthropicProvider(upstream.url, KEY)
    message = await sample(provider)
    assert [block["type"] for block in message.content] == [
        "thinking",
        "text",
        "tool_use",
        "web_search_tool_result",
    ]
    assert message.content[1]["text"] == "naïve 😀 日本"
    assert message.content[2]["input"] == {"x": "é"}
    assert message.stop_reason == "tool_use"
    await provider.aclose()


async def test_finished_answers_leave_their_connection_to_the_next_request(scripted: Scripted) -> None:
    upstream = await scripted({})
    client = HttpClient()
    provider = AnthropicProvider(upstream.url, KEY, client=client)
    for _ in range(3):
        await sample(provider)
        assert (client.open_connections, client.idle) == (1, 1)
    await provider.aclose()


async def test_only_the_body_and_two_headers_of_the_client_go_upstream(scripted: Scripted) -> None:
    upstream = await scripted({})
    provider = AnthropicProvider(upstream.url, KEY, extra_headers={"x-team": "a"})
    client_headers = {
        "authorization": "Bearer client",
        "x-api-key": "client",
        "cookie": "c",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a-1,b-2",
        "x-claude-code-session-id": "s",
    }
    request = MessagesRequest.parse(json.dumps({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
                                                "model": "m", "stream": False, "future": 1}).encode())  # fmt: skip
    await sample(provider, UpstreamRequest.of(request, client_headers, "req", drop=("future",), model="real"))
    await provider.aclose()
    await upstream.stop()
    (recorded,) = upstream.recorded()
    assert recorded["body"] == {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "model": "real",
        "stream": True,
    }
    headers = recorded["headers"]
    assert headers["anthropic-version"] == "2026-10-21"
    assert headers["anthropic-beta"] == "a-1,b-2"
    assert headers["x-team"] == "a"
    assert headers["x-api-key"] == f"<{len(SECRET)} characters>"
    assert set(headers) == {"host", "accept", "accept-encoding", "user-agent", "content-length",
                            "content-type", "x-api-key", "x-team", "anthropic-version", "anthropic-beta"}  # fmt: skip


URLS = [
    ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
    ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
    ("https://h/anthropic", "https://h/anthropic/v1/messages"),
    ("https://h/anthropic/v1", "https://h/anthropic/v1/messages"),
    ("https://h/anthropic/v1/messages", "https://h/anthropic/v1/messages"),
    ("https://h/anthropic/v1/messages/", "https://h/anthropic/v1/messages"),
    ("https://h:8443/a?api-version=1", "https://h:8443/a/v1/messages?api-version=1"),
]


@pytest.mark.parametrize(("given", "messages"), URLS)
def test_a_base_url_and_a_full_url_name_the_same_endpoints(given: str, messages: str) -> None:
    endpoints = Endpoints.of(given)
    path, _, query = messages.partition("?")
    query = f"?{query}" if query else ""
    assert endpoints.messages == messages
    assert endpoints.count_tokens == f"{path}/count_tokens{query}"
    assert endpoints.models == f"{path.removesuffix('/messages')}/models{query}"


@pytest.mark.parametrize("url", ["ftp://h", "h/v1", "", "https://"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Endpoints.of(url)


CREDENTIAL_REFUSED = "The gateway's credential was refused by its upstream model service. Tell the gateway's operator."
ANSWERS: list[tuple[dict[str, Any], int, str, str, dict[str, str]]] = [
    ({"status": 400, "message": "prompt is too long: 5 tokens > 4 maximum"}, 400, "invalid_request_error",
     "prompt is too long: 5 tokens > 4 maximum", {}),
    ({"status": 413, "message": "big"}, 413, "request_too_large", "big", {}),
    ({"status": 404, "message": "model: x"}, 404, "not_found_error", "model: x", {}),
    ({"status": 429, "message": "slow", "headers": {"retry-after": "7"}}, 429, "rate_limit_error", "slow",
     {"retry-after": "7"}),
    ({"status": 429, "type": "billing_error", "message": "cap", "headers": {"x-should-retry": "false"}}, 429,
     "billing_error", "cap", {"x-should-retry": "false"}),
    ({"status": 500, "message": "oops"}, 500, "api_error", "oops", {}),
    ({"status": 503, "message": "busy", "headers": {"x-should-retry": "true"}}, 529, "overloaded_error", "busy",
     {"x-should-retry": "true"}),
    ({"status": 529, "message": "Overloaded"}, 529, "overloaded_error", "Overloaded", {}),
    ({"status": 401, "message": "bad key sk-123"}, 500, "api_error", CREDENTIAL_REFUSED, {"x-should-retry": "false"}),
    ({"status": 403, "message": "no"}, 500, "api_error", CREDENTIAL_REFUSED, {"x-should-retry": "false"}),
    ({"status": 402, "message": "pay"}, 500, "api_error", "The gateway's upstream account cannot be charged.",
     {"x-should-retry": "false"}),
    ({"status": 502, "body": "<html>internal-host-7</html>"}, 502, "api_error",
     "The upstream model service answered with status 502.", {}),
    ({"status": 404, "body": "<html>nope</html>"}, 500, "api_error",
     "The gateway's upstream model service has no such endpoint.", {"x-should-retry": "false"}),
    ({"status": 302, "body": "", "headers": {"location": "http://elsewhere/"}}, 500, "api_error",
     "The gateway's upstream model service has no such endpoint.", {"x-should-retry": "false"}),
    ({"status": 400, "body": '{"error_code":"BAD_REQUEST","message":"plain"}'}, 400, "invalid_request_error",
     "plain", {}),
    ({"status": 400, "body": '[{"error":{"code":400,"message":"listed","status":"X"}}]'}, 400,
     "invalid_request_error", "listed", {}),
    ({"status": 500, "body": '{"error":{"type":"Weird Type!","message":"m"}}'}, 500, "api_error", "m", {}),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "status", "kind", "message", "headers"), ANSWERS)
async def test_an_error_answer_becomes_what_the_client_may_see(
    scripted: Scripted, fault: dict[str, Any], status: int, kind: str, message: str, headers: dict[str, str]
) -> None:
    upstream = await scripted({"turns": [{"text": "no", "fault": fault}]})
    error = await failure(AnthropicProvider(upstream.url, KEY))
    assert isinstance(error, UpstreamError)
    assert (error.status, error.type, error.message) == (status, kind, message)
    assert (error.answer.status, error.answer.type, error.answer.message) == (status, kind, message)
    assert error.answer.headers == headers
    assert error.retry_after == headers.get("retry-after")


BROKEN = [
    {"cut": "close", "after_events": 3},
    {"cut": "reset", "after_events": 3},
    {"cut": "clean", "after_events": 3},
    {"cut": "close", "after_bytes": 90},
    {"cut": "clean", "after_bytes": 0},
    {"malformed": True, "after_events": 2},
    {"lie": "two_starts"},
    {"lie": "no_start"},
    {"lie": "no_stop"},
    {"lie": "bad_index"},
    {"lie": "delta_without_block"},
    {"lie": "wrong_delta"},
    {"lie": "interleaved"},
    {"body": "<html>welcome</html>"},
    {"body": "not json", "content_type": "application/json"},
    {"body": '{"type": "message"}', "content_type": "application/json"},
    {"body": '{"type": "message", "content": [{"text": 5}]}', "content_type": "application/json"},
    {"body": '{"type": "message", "content": [{"type": "text", "text": 5}]}', "content_type": "application/json"},
]


@pytest.mark.parametrize("fault", BROKEN, ids=str)
async def test_a_stream_that_breaks_or_lies_is_never_an_answer(scripted: Scripted, fault: dict[str, Any]) -> None:
    upstream = await scripted({"turns": [{**SPOKEN, "fault": fault}]})
    error = await failure(AnthropicProvider(upstream.url, KEY))
    assert isinstance(error, UpstreamBroken)
    assert error.answer.status == 502


async def test_an_error_event_in_the_stream_is_an_upstream_error(scripted: Scripted) -> None:
    event = {"type": "overloaded_error", "message": "Overloaded"}
    upstream = await scripted({"turns": [{**SPOKEN, "fault": {"error_event": event, "after_events": 3}}]})
    error = await failure(AnthropicProvider(upstream.url, KEY))
    assert isinstance(error, UpstreamError)
    assert (error.status, error.type, error.message) == (529, "overloaded_error", "Overloaded")


async def test_an_authentication_error_in_the_stream_is_not_the_clients(scripted: Scripted) -> None:
    event = {"type": "authentication_error", "message": "key sk-1 expired"}
    upstream = await scripted({"turns": [{**SPOKEN, "fault": {"error_event": event, "after_events": 0}}]})
    error = await failure(AnthropicProvider(upstream.url, KEY))
    assert (error.answer.status, error.answer.message) == (500, CREDENTIAL_REFUSED)


DISGUISED = [
    ('{"error":{"message":"context overflow","type":"invalid_request_error"}}', 400, "context overflow"),
    ('{"object":"error","message":"boom"}', 500, "boom"),
]


@pytest.mark.parametrize(("body", "status", "message"), DISGUISED)
async def test_an_error_in_a_200_answer_is_an_error(scripted: Scripted, body: str, status: int, message: str) -> None:
    fault = {"body": body, "content_type": "application/json"}
    upstream = await scripted({"turns": [{"text": "x", "fault": fault}]})
    error = await failure(AnthropicProvider(upstream.url, KEY))
    assert (error.answer.status, error.answer.message) == (status, message)


async def test_an_upstream_that_does_not_stream_is_read_all_the_same(scripted: Scripted) -> None:
    upstream = await scripted({"turns": [SPOKEN]})
    provider = AnthropicProvider(upstream.url, KEY)
    streamed = await sample(provider)
    plain = await sample(provider, UpstreamRequest(ASKED.body.replace(b'"stream":true,', b"")))
    assert plain.content == streamed.content
    assert plain.stop_reason == "tool_use"
    await provider.aclose()


@pytest.mark.parametrize("fault", [{"stall": True}, {"stall": True, "after_events": 3}], ids=["before", "amid"])
async def test_silence_ends_in_a_timeout(scripted: Scripted, fault: dict[str, Any]) -> None:
    upstream = await scripted({"turns": [{**SPOKEN, "fault": fault}]})
    error = await failure(AnthropicProvider(upstream.url, KEY, client=HttpClient(silence=0.2)))
    assert isinstance(error, UpstreamTimeout)
    assert (error.answer.status, error.answer.type) == (504, "timeout_error")


async def test_an_upstream_that_is_not_there_is_broken() -> None:
    with_nobody = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = with_nobody.sockets[0].getsockname()[1]
    with_nobody.close()
    await with_nobody.wait_closed()
    assert isinstance(await failure(AnthropicProvider(f"http://127.0.0.1:{port}", KEY)), UpstreamBroken)


@pytest.mark.parametrize("fault", [{"stall": True}, {"stall": True, "after_events": 3}], ids=["before", "amid"])
async def test_cancelling_closes_the_upstreams_connection_at_once(scripted: Scripted, fault: dict[str, Any]) -> None:
    upstream = await scripted({"turns": [{**SPOKEN, "fault": fault}]})
    provider = AnthropicProvider(upstream.url, KEY)
    task = asyncio.create_task(sample(provider))
    await upstream.until(lambda log: bool(log["count"] == 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    log = await upstream.until(lambda log: "complete" in log["requests"][0])
    assert log["requests"][0]["complete"] is False
    await provider.aclose()


async def test_leaving_a_stream_early_closes_the_connection(scripted: Scripted) -> None:
    upstream = await scripted({"turns": [{**SPOKEN, "fault": {"stall": True, "after_events": 3}}]})
    provider = AnthropicProvider(upstream.url, KEY)
    async with provider.stream(ASKED) as stream:
        async for event in stream:
            assert event.name == "message_start"
            break
    log = await upstream.until(lambda log: "complete" in log["requests"][0])
    assert log["requests"][0]["complete"] is False
    await provider.aclose()


async def test_the_upstreams_request_id_is_known(scripted: Scripted) -> None:
    upstream = await scripted({})
    provider = AnthropicProvider(upstream.url, KEY)
    async with provider.stream(ASKED) as stream:
        assert stream.headers["request-id"].startswith("req_")
    await provider.aclose()


async def test_tokens_are_counted_and_models_listed_over_all_pages(
    scripted: Scripted, answering: AnsweringStarter
) -> None:
    upstream = await scripted({"count_tokens": 42, "models": ["claude-a"]})
    provider = AnthropicProvider(f"{upstream.url}/v1/messages", KEY)
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    assert await provider.count_tokens(UpstreamRequest(body)) == 42
    assert [model["id"] for model in await provider.models()] == ["claude-a"]
    await provider.aclose()

    pages = {"/v1/models?limit=1000": ("a/b", True), "/v1/models?limit=1000&after_id=a%2Fb": ("c", False)}

    def page(asked: Asked) -> bytes:
        last, more = pages[asked.target]
        return answered(200, {"data": [{"id": last}, "junk"], "has_more": more, "last_id": last})

    paged = AnthropicProvider((await answering(page)).url, KEY)
    assert await paged.models() == [{"id": "a/b"}, {"id": "c"}]
    await paged.aclose()


async def test_pages_of_models_that_never_end_are_left(answering: AnsweringStarter) -> None:
    again = answered(200, {"data": [{"id": "a"}], "has_more": True, "last_id": "a"})
    server = await answering(lambda _: again)
    provider = AnthropicProvider(server.url, KEY)
    assert await provider.models() == [{"id": "a"}, {"id": "a"}]
    await provider.aclose()


ODD_ANSWERS = [b"[]", b"{", b'{"input_tokens": "5"}', b'{"input_tokens": true}']


@pytest.mark.parametrize("text", ODD_ANSWERS)
async def test_a_count_that_is_no_number_is_broken(answering: AnsweringStarter, text: bytes) -> None:
    server = await answering(lambda _: answered(200, text))
    provider = AnthropicProvider(server.url, KEY)
    with pytest.raises(UpstreamBroken):
        await provider.count_tokens(UpstreamRequest(b"{}"))
    await provider.aclose()


NO_SUCH_PATH = [
    answered(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "Path must be of form /x/invocations"}),
    answered(404, b"404 page not found", content_type="text/plain"),
    answered(404, {"detail": "Not Found"}),
    answered(405, {"detail": "Method Not Allowed"}),
    answered(404, {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}),
]  # fmt: skip


@pytest.mark.parametrize("answer", NO_SUCH_PATH)
async def test_an_upstream_that_cannot_count_is_not_asked_again_for_a_while(
    answering: AnsweringStarter, answer: bytes
) -> None:
    server = await answering(lambda _: answer)
    now = [1000.0]
    provider = AnthropicProvider(server.url, KEY, now=lambda: now[0])
    assert await provider.count_tokens(UpstreamRequest(b"{}")) is None
    assert await provider.count_tokens(UpstreamRequest(b"{}")) is None
    assert len(server.asked) == 1
    now[0] += 601
    assert await provider.count_tokens(UpstreamRequest(b"{}")) is None
    assert len(server.asked) == 2
    assert await provider.models() == []
    await provider.aclose()


async def test_a_count_for_an_unknown_model_is_an_error_and_not_a_missing_endpoint(answering: AnsweringStarter) -> None:
    server = await answering(
        lambda _: answered(404, {"type": "error", "error": {"type": "not_found_error", "message": "model: m"}})
    )
    provider = AnthropicProvider(server.url, KEY)
    for _ in range(2):
        with pytest.raises(UpstreamError, match="model: m"):
            await provider.count_tokens(UpstreamRequest(b"{}"))
    assert len(server.asked) == 2
    await provider.aclose()
