"""Who may call: one key in either header, and refusals that tell the caller nothing."""

from __future__ import annotations

import secrets
import time

import httpx
import pytest

from gateway.cli.issuing import NewKey, issue, revoke
from gateway.store.engine import close_store, connect
from tests.support.gateway import Gateway
from tests.support.places import Member
from tests.support.processes import until

SOON = 20.0
"""Seconds in which a revoked key must have stopped; two are promised."""


def knock(gateway: Gateway, path: str = "/v1/models", method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        return client.request(method, path, headers=named)


def issued(gateway: Gateway, expires: float | None = None) -> tuple[str, str]:
    """Id and secret of a fresh key."""
    engine = connect(gateway.settings.store_url)
    try:
        record, secret = issue(gateway.settings, engine, NewKey("test", "somebody", expires=expires), "test")
    finally:
        close_store(engine)
    return record.id, secret


def revoked(gateway: Gateway, key_id: str) -> None:
    engine = connect(gateway.settings.store_url)
    try:
        assert revoke(gateway.settings, engine, key_id, "test") is not None
    finally:
        close_store(engine)


def test_a_key_is_taken_from_either_header_and_beside_a_wrong_one(gateway: Gateway) -> None:
    _, key = issued(gateway)
    good = [
        {"x_api_key": key},
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key}"},
        {"x_api_key": key, "authorization": "Bearer sk-of-somebody-else"},
        {"x_api_key": "sk-of-somebody-else", "authorization": f"Bearer {key}"},
    ]
    assert [knock(gateway, **headers).status_code for headers in good] == [200] * 5
    assert knock(gateway, authorization=f"Basic {key}").status_code == 401


def test_every_refusal_looks_the_same_to_the_caller_and_differs_in_the_audit_log(gateway: Gateway) -> None:
    past_id, expired = issued(gateway, time.time() - 1)
    gone_id, gone = issued(gateway)
    revoked(gateway, gone_id)
    unknown = f"bh_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    wrong_secret = f"bh_{issued(gateway)[0]}_{secrets.token_urlsafe(32)}"
    answers = [knock(gateway, x_api_key=key) for key in ("sk-ant-no", unknown, wrong_secret, expired, gone)]
    told = {(one.status_code, one.json()["error"]["type"], one.json()["error"]["message"]) for one in answers}
    assert told == {(401, "authentication_error", "invalid api key: make one with `bulkhead keys create`.")}
    assert {one.headers["x-should-retry"] for one in answers} == {"false"}

    gateway.event("auth.refused", refusal="revoked", key_id=gone_id, path="/v1/models", peer="127.0.0.1")
    noted = gateway.events("auth.refused", path="/v1/models")
    expected = [("malformed", None), ("unknown", None), ("unknown", None), ("expired", past_id), ("revoked", gone_id)]
    assert [(event["refusal"], event["key_id"]) for event in noted[-5:]] == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/model-a"),
        ("GET", "/api/sessions"),
        ("GET", "/api/sessions/s-1"),
        ("DELETE", "/api/sessions/s-1"),
    ],
)
def test_nothing_is_served_without_a_key(method: str, path: str, gateway: Gateway) -> None:
    answer = knock(gateway, path, method)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (401, "authentication_error")
    assert error["message"].startswith("x-api-key or Authorization header is required")
    gateway.event("auth.refused", refusal="missing", path=path)


def test_a_revoked_key_stops_soon_though_it_was_just_used(gateway: Gateway) -> None:
    key_id, key = issued(gateway)
    assert knock(gateway, x_api_key=key).status_code == 200
    revoked(gateway, key_id)
    until(lambda: knock(gateway, x_api_key=key).status_code == 401, "the key's end", SOON)


def test_a_key_expires_though_it_was_just_used(gateway: Gateway) -> None:
    _, key = issued(gateway, time.time() + 3)
    assert knock(gateway, x_api_key=key).status_code == 200
    until(lambda: knock(gateway, x_api_key=key).status_code == 401, "the key's end", SOON)


def test_a_refused_request_reaches_no_model(gateway: Gateway, member: Member) -> None:
    before = gateway.events("turn.start")
    with member.caller.http() as client:
        answer = client.post("/v1/messages", json={"model": "m"}, headers={"x-api-key": "nobody's"})
    assert answer.status_code == 401
    assert gateway.events("turn.start") == before
