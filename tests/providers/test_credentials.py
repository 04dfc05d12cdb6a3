"""Credentials: the headers they give, and tokens fetched once for everybody, in time, and never shown."""

import asyncio
import json
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs

import pytest
from answering import CLOSE, GATE, AnsweringStarter, Asked, answered
from structlog.testing import capture_logs

from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamTimeout
from gateway.providers.client_credentials import AZURE_AI_SCOPE
from gateway.providers.credentials import ClientCredentials, Scheme, StaticHeaders
from gateway.providers.wire import HttpClient

SECRET = "s3cr&t:value"

STATIC: list[tuple[Scheme | tuple[Scheme, ...], str, dict[str, str]]] = [
    ("x-api-key", "k", {"x-api-key": "k"}),
    ("api-key", "k", {"api-key": "k"}),
    ("bearer", "k", {"authorization": "Bearer k"}),
    ("basic", "dapi1", {"authorization": f"Basic {b64encode(b'token:dapi1').decode()}"}),
    ("basic", "user:word", {"authorization": f"Basic {b64encode(b'user:word').decode()}"}),
    (("api-key", "x-api-key"), "k", {"api-key": "k", "x-api-key": "k"}),
]


@pytest.mark.parametrize(("scheme", "secret", "headers"), STATIC)
async def test_a_fixed_secret_travels_in_the_headers_that_the_upstream_reads(
    scheme: Scheme | tuple[Scheme, ...], secret: str, headers: dict[str, str]
) -> None:
    credential = StaticHeaders(scheme, secret)
    assert await credential.headers() == headers
    assert credential.rejected() is False


def test_a_fixed_secret_is_not_in_its_repr() -> None:
    assert "hidden-value" not in repr(StaticHeaders("bearer", "hidden-value"))


@pytest.mark.parametrize("secret", ["", "two words", "line\nend", "é", "x" * 16385])
def test_a_secret_that_no_header_can_carry_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        StaticHeaders("bearer", secret)
    assert not secret or secret not in str(caught.value)


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def token(text: str = "tok", **fields: Any) -> bytes:
    return answered(200, {"access_token": text, "token_type": "Bearer", "expires_in": 3600, **fields})


def numbered(server_asked: list[Asked], **fields: Any) -> bytes:
    return token(f"tok{len(server_asked)}", **fields)


def workspace(client: HttpClient, url: str, clock: Clock, **options: Any) -> ClientCredentials:
    return ClientCredentials.databricks(client, url, "id", SECRET, now=clock, **options)


async def header(credential: ClientCredentials) -> str:
    return (await credential.headers())["authorization"]


async def test_databricks_gets_id_and_secret_by_basic_and_the_scope_in_a_form(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: token())
    client = HttpClient()
    for options in ({}, {"account": "acc/1"}):
        assert await header(workspace(client, f"{server.url}/some/path", Clock(), **options)) == "Bearer tok"
    await client.aclose()
    assert [asked.target for asked in server.asked] == ["/oidc/v1/token", "/oidc/accounts/acc%2F1/v1/token"]
    asked = server.asked[0]
    assert asked.method == "POST"
    assert asked.headers["authorization"] == f"Basic {b64encode(b'id:s3cr&t:value').decode()}"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}


async def test_entra_gets_id_and_secret_in_the_form(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: token(expires_in="3599"))
    client = HttpClient()
    credential = ClientCredentials.entra(client, "tenant", "id", SECRET, token_url=f"{server.url}/t/token")
    assert await header(credential) == "Bearer tok"
    await client.aclose()
    assert "authorization" not in server.asked[0].headers
    assert parse_qs(server.asked[0].body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": [AZURE_AI_SCOPE],
        "client_id": ["id"],
        "client_secret": [SECRET],
    }


async def test_the_tenant_names_the_entra_endpoint() -> None:
    client = HttpClient()
    credential = ClientCredentials.entra(client, "contoso.com", "id", SECRET)
    assert repr(credential) == "ClientCredentials(https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token)"
    await client.aclose()


@pytest.mark.parametrize("url", ["http://elsewhere.test/token", "ftp://h/token", "token", ""])
async def test_a_secret_is_never_sent_in_the_clear(url: str) -> None:
    client = HttpClient()
    with pytest.raises(ValueError, match="https"):
        ClientCredentials(client, url, "id", SECRET, scope="s")
    await client.aclose()


async def test_fifty_callers_wait_for_one_fetch(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [GATE, token()])
    client = HttpClient()
    credential = workspace(client, server.url, Clock())
    callers = [asyncio.create_task(header(credential)) for _ in range(50)]
    await server.until(lambda: len(server.asked) == 1)
    server.gate.set()
    assert await asyncio.gather(*callers) == ["Bearer tok"] * 50
    assert await header(credential) == "Bearer tok"
    assert len(server.asked) == 1
    await client.aclose()


async def test_a_cancelled_caller_leaves_the_fetch_to_the_others(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [GATE, token()])
    client = HttpClient()
    credential = workspace(client, server.url, Clock())
    first, second = (asyncio.create_task(header(credential)) for _ in range(2))
    await server.until(lambda: len(server.asked) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.gate.set()
    assert await second == "Bearer tok"
    assert len(server.asked) == 1
    await client.aclose()


async def test_a_token_is_renewed_early_behind_the_callers_backs(answering: AnsweringStarter) -> None:
    server = await answering(lambda asked: numbered(server.asked))
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    assert await header(credential) == "Bearer tok1"
    clock.now += 3600 - 61
    assert await header(credential) == "Bearer tok1"
    assert len(server.asked) == 1
    clock.now += 2
    assert await header(credential) == "Bearer tok1"  # the old one is still good
    await server.until(lambda: len(server.asked) == 2)
    async with asyncio.timeout(20):
        while await header(credential) != "Bearer tok2":
            await asyncio.sleep(0)
    assert len(server.asked) == 2
    await client.aclose()


async def test_past_its_end_a_token_is_waited_for(answering: AnsweringStarter) -> None:
    server = await answering(lambda asked: numbered(server.asked))
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    assert await header(credential) == "Bearer tok1"
    clock.now += 3600
    assert await header(credential) == "Bearer tok2"
    await client.aclose()


async def test_a_short_lived_token_is_used_for_half_its_life_without_asking_again(answering: AnsweringStarter) -> None:
    server = await answering(lambda asked: numbered(server.asked, expires_in=40))
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    await credential.headers()
    clock.now += 19
    await credential.headers()
    assert len(server.asked) == 1
    await client.aclose()


async def test_an_old_token_that_is_still_good_outlives_a_failed_renewal(answering: AnsweringStarter) -> None:
    answers = [token("old"), answered(503, b"busy"), token("new")]
    server = await answering(lambda _: answers[len(server.asked) - 1])
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    await credential.headers()
    clock.now += 3600 - 50
    assert await header(credential) == "Bearer old"
    await server.until(lambda: len(server.asked) == 2 and client.idle == 1)
    for _ in range(3):
        assert await header(credential) == "Bearer old"
    assert len(server.asked) == 2  # no new attempt while the endpoint rests
    clock.now += 46
    assert await header(credential) == "Bearer new"
    await client.aclose()


async def test_a_refused_token_is_fetched_anew_once_for_all_who_were_refused(answering: AnsweringStarter) -> None:
    server = await answering(lambda asked: numbered(server.asked))
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    assert await header(credential) == "Bearer tok1"
    assert all(credential.rejected() for _ in range(10))
    assert await asyncio.gather(*(header(credential) for _ in range(10))) == ["Bearer tok2"] * 10
    assert credential.rejected()  # one that learns of the old token's end late
    assert await header(credential) == "Bearer tok2"
    assert len(server.asked) == 2
    clock.now += 31
    assert credential.rejected()
    assert await header(credential) == "Bearer tok3"
    await client.aclose()


OURS = "The gateway's credential was refused"
FAULTS: list[tuple[Any, type[UpstreamFailure], int, bool | None]] = [
    (answered(401, {"error": "invalid_client", "error_description": "AADSTS70 tenant x"}), UpstreamError, 500, False),
    (answered(400, {"error": "unauthorized_client"}), UpstreamError, 500, False),
    (answered(403, b"<html>no</html>"), UpstreamError, 500, False),
    (answered(404, b""), UpstreamError, 500, False),
    (answered(429, {"error": "slow_down"}), UpstreamError, 529, None),
    (answered(500, {"error": "server_error"}), UpstreamBroken, 502, None),
    (answered(302, b"", location="https://elsewhere/"), UpstreamBroken, 502, None),
    (answered(200, b"<html>sign in</html>"), UpstreamBroken, 502, None),
    (answered(200, b"[]"), UpstreamBroken, 502, None),
    (answered(200, {}), UpstreamBroken, 502, None),
    (answered(200, {"access_token": 5, "expires_in": 3600}), UpstreamBroken, 502, None),
    (answered(200, {"access_token": "", "expires_in": 3600}), UpstreamBroken, 502, None),
    (token("to\nken"), UpstreamBroken, 502, None),
    (token("x" * 16385), UpstreamBroken, 502, None),
    (token(token_type="mac"), UpstreamBroken, 502, None),
    (token(token_type=7), UpstreamBroken, 502, None),
    (token(expires_in=0), UpstreamBroken, 502, None),
    (token(expires_in=-30), UpstreamBroken, 502, None),
    (token(expires_in="soon"), UpstreamBroken, 502, None),
    (token(expires_in=True), UpstreamBroken, 502, None),
    (token(filler="x" * 70_000), UpstreamBroken, 502, None),
    ([CLOSE], UpstreamBroken, 502, None),
    ([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{", CLOSE], UpstreamBroken, 502, None),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "status", "retried"), FAULTS)
async def test_a_token_endpoint_that_fails_is_a_failure_of_the_upstream(
    answering: AnsweringStarter, answer: Any, kind: type[UpstreamFailure], status: int, retried: bool | None
) -> None:
    server = await answering(lambda _: answer)
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    with capture_logs() as logs:
        found = await asyncio.gather(*(credential.headers() for _ in range(3)), return_exceptions=True)
    await client.aclose()
    assert len({id(one) for one in found}) == 3  # each caller has a failure of its own
    failure = found[0]
    assert isinstance(failure, kind)
    assert failure.answer.status == status
    assert failure.answer.headers.get("x-should-retry") == (None if retried is None else "false")
    assert (OURS in failure.answer.message) is (status == 500)
    assert len(logs) == 1
    for text in (str(failure), failure.answer.message, repr(credential), json.dumps(logs)):
        assert SECRET not in text
        assert "AADSTS" not in text


async def test_after_a_failure_the_endpoint_is_left_alone_for_a_moment(answering: AnsweringStarter) -> None:
    answers = [answered(401, {"error": "invalid_client"}), token()]
    server = await answering(lambda _: answers[len(server.asked) - 1])
    client, clock = HttpClient(), Clock()
    credential = workspace(client, server.url, clock)
    for _ in range(5):
        with pytest.raises(UpstreamError, match="invalid_client"):
            await credential.headers()
    assert len(server.asked) == 1
    clock.now += 5.1
    assert await header(credential) == "Bearer tok"
    await client.aclose()


async def test_a_slow_token_endpoint_is_given_up(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [GATE, token()])
    client = HttpClient()
    credential = workspace(client, server.url, Clock(), seconds=0.05)
    with pytest.raises(UpstreamTimeout):
        await credential.headers()
    assert client.open_connections == 0
    await client.aclose()


async def test_closing_ends_a_fetch_under_way(answering: AnsweringStarter) -> None:
    server = await answering(lambda _: [GATE, token()])
    client = HttpClient()
    credential = workspace(client, server.url, Clock())
    waiting = asyncio.create_task(credential.headers())
    await server.until(lambda: len(server.asked) == 1)
    await credential.aclose()
    with pytest.raises(UpstreamBroken):
        await waiting
    await credential.aclose()
    await client.aclose()
