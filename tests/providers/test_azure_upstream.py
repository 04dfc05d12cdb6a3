"""Claude on Azure: every spelling of its address, every way to sign in, and what is not there."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from answering import EVENTS, Answer, AnsweringStarter, Asked, answered, chunked

from gateway.providers.adapt import AZURE
from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.azure import azure_endpoint, azure_provider
from gateway.providers.base import UpstreamError, UpstreamRequest
from gateway.providers.credentials import ClientCredentials, Scheme, StaticHeaders
from gateway.providers.wire import HttpClient

BASE = "https://res.services.ai.azure.com/anthropic"
SPELLINGS = [
    ("res", BASE),
    ("https://res.services.ai.azure.com", BASE),
    ("https://res.services.ai.azure.com/", BASE),
    ("https://res.services.ai.azure.com/v1/messages", BASE),
    ("https://res.services.ai.azure.com/anthropic", BASE),
    ("https://res.services.ai.azure.com/anthropic/v1", f"{BASE}/v1"),
    ("https://res.services.ai.azure.com/anthropic/v1/messages", f"{BASE}/v1/messages"),
    ("https://res.services.ai.azure.com/anthropic?api-version=1", f"{BASE}?api-version=1"),
    ("https://apim.example/claude", "https://apim.example/claude"),
]


@pytest.mark.parametrize(("given", "base"), SPELLINGS)
async def test_every_spelling_of_the_address_is_the_same_endpoint(given: str, base: str) -> None:
    assert azure_endpoint(given) == base
    provider = azure_provider(given, None)
    host = base.partition("/v1")[0].partition("?")[0]
    query = f"?{base.partition('?')[2]}" if "?" in base else ""
    assert provider.endpoints.messages == f"{host}/v1/messages{query}"
    await provider.aclose()


@pytest.mark.parametrize("given", ["", "not a name", "ftp://res/anthropic", "https://"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="URL or a resource"):
        azure_endpoint(given)


ASKED = UpstreamRequest(
    b'{"model":"dep-1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"go"}]}',
    {"anthropic-version": "2026-10-21"},
)
KEYS: list[tuple[Scheme | tuple[Scheme, ...], set[str]]] = [
    ("api-key", {"api-key"}),
    ("x-api-key", {"x-api-key"}),
    (("api-key", "x-api-key"), {"api-key", "x-api-key"}),
]


@pytest.mark.parametrize(("scheme", "sent"), KEYS)
async def test_a_key_goes_in_one_spelling_or_both_with_the_version_that_azure_wants(
    answering: AnsweringStarter, scheme: Scheme | tuple[Scheme, ...], sent: set[str]
) -> None:
    server = await answering(lambda _: chunked(*EVENTS))
    provider = azure_provider(f"{server.url}/anthropic", StaticHeaders(scheme, "k"))
    async with provider.stream(ASKED) as stream:
        assert len([event async for event in stream]) == len(EVENTS)
    async with provider.relay(ASKED) as raw:
        assert b"".join([piece async for piece in raw]) == b"".join(EVENTS)
    await provider.aclose()
    for asked in server.asked:
        assert asked.target == "/anthropic/v1/messages"
        assert asked.json["model"] == "dep-1"
        assert {name for name in asked.headers if asked.headers[name] == "k"} == sent
        assert asked.headers["anthropic-version"] == "2023-06-01"


async def test_an_entra_token_goes_as_bearer(answering: AnsweringStarter) -> None:
    server = await answering(
        lambda asked: (
            answered(200, {"access_token": "t", "expires_in": 3600}) if asked.target == "/token" else chunked(*EVENTS)
        )
    )
    client = HttpClient()
    credential = ClientCredentials.entra(client, "tenant", "id", "secret", token_url=f"{server.url}/token")
    provider = azure_provider(f"{server.url}/anthropic/v1/messages", credential, client=client)
    async with provider.stream(ASKED) as stream:
        assert len([event async for event in stream]) == len(EVENTS)
    await provider.aclose()
    assert server.asked[1].headers["authorization"] == "Bearer t"
    assert "api-key" not in server.asked[1].headers


async def test_models_are_not_asked_for_but_tokens_are_counted(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: answered(200, {"input_tokens": 7}))
    provider = azure_provider(f"{server.url}/anthropic", StaticHeaders("api-key", "k"))
    assert await provider.models() == []
    assert await provider.count_tokens(ASKED) == 7
    await provider.aclose()
    assert [asked.target for asked in server.asked] == ["/anthropic/v1/messages/count_tokens"]


FEATURES: list[tuple[dict[str, Any], bool]] = [({}, True), ({"hosted_on_azure": True}, False)]


@pytest.mark.parametrize(("options", "kept"), FEATURES)
async def test_deployments_hosted_on_azure_get_no_structured_outputs(
    answering: AnsweringStarter, options: dict[str, Any], kept: bool
) -> None:
    server = await answering(lambda _: chunked(*EVENTS))
    provider = azure_provider(f"{server.url}/anthropic", StaticHeaders("api-key", "k"), **options)
    format_ = {"type": "json_schema", "schema": {"type": "object"}}
    body = json.dumps({**json.loads(ASKED.body), "output_config": {"format": format_}})
    async with provider.stream(UpstreamRequest(body.encode(), ASKED.headers)) as stream:
        assert len([event async for event in stream]) == len(EVENTS)
    await provider.aclose()
    assert ("output_config" in server.asked[0].json) is kept


async def test_the_capabilities_can_be_given() -> None:
    provider = azure_provider("res", None, hosted_on_azure=True, capabilities=AZURE)
    assert provider.relays(UpstreamRequest(b'{"model":"m","tools":[{"type":"web_search_20250305"}]}'))
    await provider.aclose()


async def test_a_content_filter_is_a_refusal_of_the_request(answering: AnsweringStarter) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"self_harm": {"filtered": True}}}
    body = {"error": {"code": "content_filter", "message": "filtered at res.openai.azure.com", "innererror": inner}}
    server = await answering(lambda _: answered(400, body, apim_request_id="a1"))
    provider = azure_provider(f"{server.url}/anthropic", StaticHeaders("api-key", "k"))
    with pytest.raises(UpstreamError) as caught:
        async with provider.stream(ASKED):
            pass
    await provider.aclose()
    answer = caught.value.answer
    assert (answer.status, answer.type) == (400, "invalid_request_error")
    assert answer.message == "The upstream's content filter blocked this request (self_harm)."
    assert answer.headers == {"x-should-retry": "false"}


async def test_a_missing_deployment_names_no_resource(answering: AnsweringStarter) -> None:
    body = {"error": {"code": "DeploymentNotFound", "message": "No deployment at res.openai.azure.com here"}}
    server = await answering(lambda _: answered(404, body))
    provider = azure_provider(f"{server.url}/anthropic", StaticHeaders("api-key", "k"))
    with pytest.raises(UpstreamError) as caught:
        async with provider.stream(ASKED):
            pass
    await provider.aclose()
    assert caught.value.answer.status == 404
    assert caught.value.answer.message == "No deployment at [removed] here"


TOO_LONG = "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5"
LONG = b'{"model":"claude-opus-5-5","max_tokens":128000,"stream":true,"messages":[{"role":"user","content":"go"}]}'


def at_most(limit: int) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        if asked.json["max_tokens"] <= limit:
            return chunked(*EVENTS)
        error = {"type": "invalid_request_error", "message": TOO_LONG}
        return answered(400, {"type": "error", "error": error})

    return answer


@pytest.mark.parametrize("way", ["stream", "relay"])
async def test_an_answer_longer_than_the_model_behind_the_name_gives_is_asked_for_shorter(
    answering: AnsweringStarter, way: str
) -> None:
    server = await answering(at_most(64_000))
    provider = azure_provider(server.url, None)
    async with getattr(provider, way)(UpstreamRequest(LONG, {"anthropic-version": "2023-06-01"})) as answer:
        assert [piece async for piece in answer]
    await provider.aclose()
    assert [asked.json["max_tokens"] for asked in server.asked] == [128_000, 64_000]


async def test_a_length_that_stays_refused_and_the_vendors_own_refusal_are_for_the_client(
    answering: AnsweringStarter,
) -> None:
    server = await answering(at_most(0))
    for provider, tries in ((azure_provider(server.url, None), 2), (AnthropicProvider(server.url), 1)):
        server.asked.clear()
        with pytest.raises(UpstreamError) as caught:
            async with provider.stream(UpstreamRequest(LONG)):
                pass
        await provider.aclose()
        assert (caught.value.status, caught.value.message, len(server.asked)) == (400, TOO_LONG, tries)


async def test_a_fixed_newer_version_gets_none_of_the_fields_that_it_took_away(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: chunked(*EVENTS))
    sampled = LONG.replace(b'"stream"', b'"temperature":1,"top_k":5,"stream"')
    for provider in (azure_provider(server.url, None, version="2026-10-21"),
                     AnthropicProvider(server.url, version="2026-10-21")):  # fmt: skip
        request = UpstreamRequest(sampled, {"anthropic-version": "2023-06-01"})
        assert not provider.relays(request)
        async with provider.stream(request) as answer:
            assert [event async for event in answer]
        await provider.aclose()
        asked = server.asked[-1]
        assert (asked.headers["anthropic-version"], asked.json) == ("2026-10-21", json.loads(LONG))
