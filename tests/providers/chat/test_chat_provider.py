"""A chat upstream over a socket: what is asked of it, and what comes of its answers."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from answering import CLOSE, GATE, RESET, Answer, Answering, AnsweringStarter, Asked, answered, chunked, zipped
from chat_strictness import check_body
from conversations import assembled, assistant, call, calls, delta, fragment, result, text, tool, usage, user

from gateway.messages.events import Event
from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamRequest, UpstreamTimeout
from gateway.providers.chat import ChatProvider, dialect
from gateway.providers.chat.endpoints import Endpoints
from gateway.providers.credentials import StaticHeaders
from gateway.providers.wire import HttpClient

ANSWER = [delta(role="assistant", content="Hel"), delta(content="lo é😀"), delta("stop"), usage(11, 2)]


def lines(*data: Any, done: bool = True) -> list[bytes]:
    found = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode() for one in data]
    return [b": PROCESSING\n\n", *found, *([b"data: [DONE]\n\n"] if done else [])]


def asking(*messages: dict[str, Any], model: str = "", **fields: Any) -> UpstreamRequest:
    body = {"model": "claude", "max_tokens": 1000, "messages": list(messages or [user("hi")]), **fields}
    return UpstreamRequest(json.dumps(body).encode(), {"anthropic-version": "2023-06-01"}, "req_1", model)


def provider(server: Answering, flags: str = "vllm", path: str = "", **options: Any) -> ChatProvider:
    return ChatProvider(server.url + path, name="up", dialect=dialect(flags), **options)


async def ask(one: ChatProvider, request: UpstreamRequest | None = None) -> list[Event]:
    try:
        async with one.stream(request or asking()) as stream:
            return [event async for event in stream]
    finally:
        await one.aclose()


async def failure(one: ChatProvider, request: UpstreamRequest | None = None) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await ask(one, request)
    return caught.value


def streaming(*data: Any, **options: Any) -> Callable[[Asked], Answer]:
    return lambda _: chunked(*lines(*data, **options))


async def test_a_turn_goes_out_as_chat_and_comes_back_as_messages(answering: AnsweringStarter) -> None:
    server = await answering(streaming(*ANSWER))
    one = provider(server, credential=StaticHeaders("bearer", "secret"), extra_headers={"X-Team": "a"})
    message = assembled(await ask(one, asking(user("hi"), system="be good", model="qwen")))
    assert message["content"] == [{"type": "text", "text": "Hello é😀"}]
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (11, 2)
    asked = server.asked[0]
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.headers["x-team"] == "a"
    assert asked.json["model"] == "qwen"
    check_body(asked.json)
    await server.until(lambda: server.open == 0)


async def test_what_only_the_messages_api_knows_is_retold_before_it_is_translated(answering: AnsweringStarter) -> None:
    server = await answering(streaming(*ANSWER))
    found = [{"type": "web_search_result", "title": "T", "url": "https://t.test", "encrypted_content": "zzz"}]
    request = asking(
        user("go"),
        assistant(
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
            call("t1", "ToolSearch"),
        ),
        user(result("t1", [{"type": "tool_reference", "tool_name": "Late"}])),
        {"role": "system", "content": "be brief"},
        system=[text("x-anthropic-billing-header: cc_version=2;"), text("You help.")],
        tools=[tool("ToolSearch"), tool("Late", defer_loading=True), tool("Later", defer_loading=True)],
    )
    await ask(provider(server), request)
    body = server.asked[0].json
    check_body(body)
    assert [one["function"]["name"] for one in body["tools"]] == ["ToolSearch", "Late"]
    assert body["messages"][0]["content"] == "You help."
    assert "https://t.test" in json.dumps(body)
    assert "zzz" not in json.dumps(body)
    assert body["messages"][-1]["role"] == "user"


async def test_tool_calls_over_the_wire(answering: AnsweringStarter) -> None:
    data = [calls(fragment(0, "a", "Bash", '{"x":')), calls(fragment(0, args="1}")), delta("tool_calls")]
    server = await answering(streaming(*data))
    message = assembled(await ask(provider(server), asking(tools=[tool()])))
    assert message["content"] == [{"type": "tool_use", "id": "a", "name": "Bash", "input": {"x": 1}}]


@pytest.mark.parametrize("zip_it", [False, True])
async def test_json_in_place_of_a_stream_is_an_answer(answering: AnsweringStarter, zip_it: bool) -> None:
    whole = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    body = json.dumps(whole).encode()
    server = await answering(lambda _: zipped(200, body) if zip_it else answered(200, body))
    assert assembled(await ask(provider(server)))["content"] == [{"type": "text", "text": "Hi"}]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (answered(200, {"error": {"message": "no", "type": "invalid_request_error"}}), 400),
        (answered(200, {"error": "boom"}), 500),
        (answered(200, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow"}), 429),
        (chunked(b'data: {"error": {"message": "busy", "type": "overloaded_error"}}\n\n'), 529),
        (answered(400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}), 400),
        (answered(422, {"detail": [{"msg": "extra fields not permitted"}]}), 400),
        (answered(401, {"error": {"message": "Incorrect API key provided: sk-abc123"}}), 500),
        (answered(429, {"error": {"message": "slow"}}, retry_after="7"), 429),
        (answered(503, b"<html>front door</html>", content_type="text/html"), 529),
        (answered(404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}), 404),
        (answered(429, b"no zip", content_encoding="gzip", retry_after="7"), 429),
        (answered(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}), 529),
        ([answered(529, b"cut off in the middle of it")[:-9], CLOSE], 529),
    ],
)
async def test_errors_before_the_first_event_are_failures_with_a_status(
    answering: AnsweringStarter, answer: Answer, status: int
) -> None:
    server = await answering(lambda _: answer)
    found = await failure(provider(server, credential=StaticHeaders("bearer", "sk-abc123")))
    assert isinstance(found, UpstreamError)
    assert found.status == status
    assert "sk-abc123" not in found.message
    assert found.retry_after == ("7" if status == 429 and found.retry_after else None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {
                "error": {
                    "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
                    "(8500 in the messages, 500 in the completion).",
                    "code": "context_length_exceeded",
                }
            },
            "prompt is too long: 8500 tokens > 8192 maximum",
        ),
        (
            {
                "error": {
                    "code": 400,
                    "type": "exceed_context_size_error",
                    "message": "request (4390 tokens) exceeds the available context size (4096 tokens)",
                    "n_prompt_tokens": 4390,
                    "n_ctx": 4096,
                }
            },
            "prompt is too long: 4390 tokens > 4096 maximum",
        ),
        (
            {"error_code": "BAD_REQUEST", "message": '{"message":"Input is too long for requested model."}'},
            "Input is too long.",
        ),
    ],
)
async def test_a_prompt_that_does_not_fit_is_said_in_the_words_clients_know(
    answering: AnsweringStarter, body: dict[str, Any], said: str
) -> None:
    server = await answering(lambda _: answered(400, body))
    found = await failure(provider(server))
    assert isinstance(found, UpstreamError)
    assert (found.status, found.message) == (400, said)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("max_tokens is too large: 128000. This model supports at most 16384 completion tokens.", 16384),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
        ("max_tokens (128000) cannot exceed 8192. Please reduce the length of max output tokens generated.", 8192),
        (
            "This model's maximum context length is 32768 tokens. However, you requested 128000 output tokens and your "
            "prompt contains at least 2000 input tokens, for a total of at least 130000 tokens.",
            30752,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 128000. This model's maximum context length is "
            "32768 tokens and your request has 2000 input tokens (128000 > 32768 - 2000).",
            30752,
        ),
        (
            "This model's maximum context length is 32768 tokens. However, you requested 130000 tokens (2000 in the "
            "messages, 128000 in the completion). Please reduce the length of the messages or completion.",
            30752,
        ),
    ],
)
async def test_an_answer_longer_than_the_model_gives_is_asked_for_shorter(
    answering: AnsweringStarter, said: str, asked: int
) -> None:
    def answer(one: Asked) -> Answer:
        if one.json["max_tokens"] > 100_000:
            return answered(400, {"error": {"message": said}})
        return chunked(*lines(*ANSWER))

    server = await answering(answer)
    await ask(provider(server), asking(max_tokens=128_000))
    assert [one.json["max_tokens"] for one in server.asked] == [128_000, asked]


@pytest.mark.parametrize(
    "said",
    [
        f"max_tokens: 5 > {'9' * 6000}",
        f"maximum context length is {'9' * 6000} tokens and your request has {'1' * 6000} input",
        "context length is 9 tokens. " * 3000,
    ],
    ids=["a limit", "a window", "no end"],
)
async def test_absurd_lengths_are_an_ordinary_refusal(answering: AnsweringStarter, said: str) -> None:
    server = await answering(lambda _: answered(400, {"error": {"message": said}}))
    found = await failure(provider(server))
    assert isinstance(found, UpstreamError)
    assert found.status == 400


async def test_a_length_that_stays_refused_is_an_error(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: answered(400, {"error": {"message": "max_tokens cannot exceed 100"}}))
    assert isinstance(await failure(provider(server)), UpstreamError)
    assert len(server.asked) == 2


class OneFresh:
    """A credential whose first proof is refused and whose second is taken."""

    def __init__(self, fresh: bool) -> None:
        self.tries = 0
        self._fresh = fresh

    async def headers(self) -> Mapping[str, str]:
        self.tries += 1
        return {"authorization": f"Bearer {self.tries}"}

    def rejected(self) -> bool:
        return self._fresh

    async def aclose(self) -> None:
        return


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_refused_credential_is_renewed_once_and_never_shown_as_the_clients(
    answering: AnsweringStarter, fresh: bool
) -> None:
    def answer(one: Asked) -> Answer:
        if one.headers["authorization"] == "Bearer 1":
            return answered(401, {"error": {"message": "expired"}})
        return chunked(*lines(*ANSWER))

    server = await answering(answer)
    one = provider(server, credential=OneFresh(fresh))
    if fresh:
        assert assembled(await ask(one))["stop_reason"] == "end_turn"
    else:
        found = await failure(one)
        assert isinstance(found, UpstreamError)
        assert (found.status, found.should_retry) == (500, False)
    assert len(server.asked) == (2 if fresh else 1)


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_a_stream_that_breaks_off_is_broken_after_what_it_gave(answering: AnsweringStarter, ending: str) -> None:
    head = chunked(*lines(*ANSWER[:2], done=False), end=False)
    server = await answering(lambda _: [*head, GATE, ending])
    one = provider(server)
    seen = []
    with pytest.raises(UpstreamBroken):
        async with one.stream(asking()) as stream:
            async for event in stream:
                seen.append(event.name)
                server.gate.set()
    await one.aclose()
    assert seen[0] == "message_start"
    assert "message_stop" not in seen


async def test_a_stream_that_ends_without_its_finish_is_broken(answering: AnsweringStarter) -> None:
    server = await answering(streaming(*ANSWER[:2], done=False))
    assert isinstance(await failure(provider(server)), UpstreamBroken)


@pytest.mark.parametrize("body", [b"", b"  \n", b"<html>", b"data: nonsense\n\n", b"[]", b'"x"', b"data: [1]\n\n"])
async def test_an_answer_that_is_none_is_a_failure(answering: AnsweringStarter, body: bytes) -> None:
    server = await answering(lambda _: answered(200, body, content_type="text/event-stream"))
    assert isinstance(await failure(provider(server)), UpstreamFailure)


async def test_entering_waits_for_the_first_event_and_leaving_closes_the_connection(
    answering: AnsweringStarter,
) -> None:
    head = chunked(*lines(ANSWER[0], done=False), end=False)
    server = await answering(lambda _: [*head, GATE])
    one = provider(server)
    async with one.stream(asking()) as stream:
        assert (await anext(aiter(stream))).name == "message_start"
    server.gate.set()
    await server.until(lambda: server.open == 0)
    await one.aclose()


async def test_an_answer_cut_here_frees_the_upstream(answering: AnsweringStarter) -> None:
    head = chunked(*lines(delta(content="one STOP two"), done=False), end=False)
    server = await answering(lambda _: [*head, GATE])
    request = asking(stop_sequences=["a", "b", "c", "d", "STOP"])
    message = assembled(await ask(provider(server), request))
    assert (message["content"][0]["text"], message["stop_sequence"]) == ("one ", "STOP")
    server.gate.set()


async def test_a_finished_stream_gives_its_connection_back(answering: AnsweringStarter) -> None:
    server = await answering(streaming(*ANSWER))
    one = provider(server)
    for _ in range(3):
        async with one.stream(asking()) as stream:
            assert [event.name async for event in stream][-1] == "message_stop"
    await one.aclose()
    assert {asked.connection for asked in server.asked} == {1}


async def test_silence_is_a_timeout(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [GATE])
    one = provider(server, client=HttpClient(silence=0.05))
    assert isinstance(await failure(one), UpstreamTimeout)


async def test_no_server_is_a_broken_upstream() -> None:
    one = ChatProvider("http://127.0.0.1:1", dialect=dialect("generic"))
    assert isinstance(await failure(one), UpstreamBroken)


async def test_a_url_that_names_the_model_keeps_it_out_of_the_body(answering: AnsweringStarter) -> None:
    server = await answering(streaming(*ANSWER))
    path = "/serving-endpoints/my%20model/invocations"
    await ask(provider(server, "databricks", path), asking(model="databricks-claude-sonnet-4-5"))
    assert server.asked[0].target == path
    assert "model" not in server.asked[0].json
    await ask(
        provider(server, "azure-openai", "/openai/deployments/{model}/chat/completions?api-version=1"),
        asking(model="a/b"),
    )
    assert server.asked[1].target == "/openai/deployments/a%2Fb/chat/completions?api-version=1"


@pytest.mark.parametrize(
    ("url", "root", "chat", "models"),
    [
        ("http://h:1", "/v1", "http://h:1/v1/chat/completions", "http://h:1/v1/models"),
        ("http://h/", "", "http://h/chat/completions", "http://h/models"),
        ("https://h/api/v1/", "/v1", "https://h/api/v1/chat/completions", "https://h/api/v1/models"),
        ("https://h/x/chat/completions?a=b", "/v1", "https://h/x/chat/completions?a=b", "https://h/x/models?a=b"),
        ("https://h/serving-endpoints/e/invocations", "", "https://h/serving-endpoints/e/invocations", None),
    ],
)
def test_urls_in_the_forms_people_write_them(url: str, root: str, chat: str, models: str | None) -> None:
    found = Endpoints.of(url, root)
    assert (found.chat_for("m"), found.models) == (chat, models)


async def test_models_in_the_form_of_the_api(answering: AnsweringStarter) -> None:
    listed = {"data": [{"id": "qwen", "created": 86400, "max_model_len": 32768}, {"id": 3}, {"id": "b", "name": "B"}]}
    server = await answering(lambda _: answered(200, listed))
    one = provider(server)
    assert await one.models() == [
        {
            "id": "qwen",
            "type": "model",
            "display_name": "qwen",
            "created_at": "1970-01-02T00:00:00Z",
            "max_input_tokens": 32768,
        },
        {"id": "b", "type": "model", "display_name": "B", "created_at": "1970-01-01T00:00:00Z"},
    ]
    assert server.asked[0].target == "/v1/models"
    assert await one.count_tokens(asking()) is None
    await one.aclose()


async def test_a_server_without_a_list_has_no_models(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: answered(404, {"detail": "Not Found"}))
    one = provider(server)
    assert await one.models() == []
    await one.aclose()
