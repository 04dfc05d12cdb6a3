"""A gateway over a canned upstream, and requests to it as the bytes they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.canned_upstream import Canned, CannedUpstream, canned_upstream, streamed, whole
from tests.support.gateway import Gateway
from tests.support.messages_api import Answer, answer_of
from tests.support.places import Member, join, serving

__all__ = ["GATEWAY_VARIABLES", "canned", "gateway", "member", "plain_answers", "post"]

GATEWAY_VARIABLES = {
    "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
    "BULKHEAD_GRACE_SECONDS": "0.2",
    "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
    "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "0",
}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedUpstream]:
    with canned_upstream() as serving_it:
        yield serving_it


@pytest.fixture(autouse=True)
def plain_answers(canned: CannedUpstream) -> None:
    canned.seen.clear()
    canned.answers = {'"stream":true': Canned(streamed("Hello.")), '"stream": true': Canned(streamed("Hello."))}
    canned.answer = Canned([whole("Hello.")], content_type="application/json")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, canned: CannedUpstream) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway"), canned.url, **GATEWAY_VARIABLES) as running:
        yield running


@pytest.fixture
def member(gateway: Gateway) -> Member:
    """Names no session in its headers."""
    return join(gateway, session=None)


def post(member: Member, body: bytes, **headers: str) -> Answer:
    """These very bytes."""
    all_headers = {**member.caller.headers(**headers), "content-type": "application/json"}
    with member.caller.http() as client:
        response = client.post("/v1/messages", content=body, headers=all_headers)
        return answer_of(response.status_code, response.headers, response.content)
