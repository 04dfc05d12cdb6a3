"""What a client is told when the upstream refuses: the same for a stream and for a whole answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.messages_api import BASH, Json, asking
from tests.support.places import Member
from tests.support.scenes import fails, scene

PROXY_PAGE = "<html><body>Bad gateway at proxy-17.internal</body></html>"

SCENES = [
    scene("bad request", fails(status=400, message="messages.0: too odd")),
    scene("too large", fails(status=413, message="prompt is too long")),
    scene("rate limit", fails(status=429, message="slow down", headers={"retry-after": "7"})),
    scene("server error", fails(status=500, message="oops")),
    scene("overloaded", fails(status=529, message="busy")),
    scene("credential refused", fails(status=401, message="invalid x-api-key of the gateway")),
    scene("credential forbidden", fails(status=403, message="this organisation is disabled")),
    scene("account empty", fails(status=402, message="no money on account 17")),
    scene("proxy page", fails(status=502, body=PROXY_PAGE, content_type="text/html")),
    scene("error first", fails(error_event={"type": "overloaded_error", "message": "busy"}, after_events=0)),
    scene("not json", fails(body="<html>a sign-in page</html>", content_type="text/html", status=200)),
]


@pytest.fixture(params=[(), (BASH,)], ids=["forwarded", "with tools"])
def tools(request: pytest.FixtureRequest) -> tuple[Json, ...]:
    """A request without the gateway's tools is only forwarded; one with them is a turn of the loop."""
    found: tuple[Json, ...] = request.param
    return found


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("prompt", "status", "kind", "message"),
    [
        ("bad request", 400, "invalid_request_error", "messages.0: too odd"),
        ("too large", 413, "request_too_large", "prompt is too long"),
        ("rate limit", 429, "rate_limit_error", "slow down"),
        ("server error", 500, "api_error", "oops"),
        ("overloaded", 529, "overloaded_error", "busy"),
        ("proxy page", 502, "api_error", "The upstream model service answered with status 502."),
    ],
)
def test_a_refusal_keeps_its_status_type_and_text(
    prompt: str, status: int, kind: str, message: str, stream: bool, tools: tuple[Json, ...], member: Member
) -> None:
    answer = member.caller.ask(asking(prompt, *tools, stream=stream))
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.message == {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": answer.headers["request-id"],
    }
    assert answer.headers.get("retry-after") == ("7" if prompt == "rate limit" else None)


def test_an_error_in_place_of_a_stream_keeps_its_status_type_and_text(tools: tuple[Json, ...], member: Member) -> None:
    answer = member.caller.ask(asking("error first", *tools, stream=True))
    assert (answer.status, answer.headers["content-type"]) == (529, "application/json")
    assert answer.error == {"type": "overloaded_error", "message": "busy"}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("prompt", ["credential refused", "credential forbidden", "account empty"])
def test_trouble_with_the_gateways_own_account_is_never_shown_as_the_clients(
    prompt: str, stream: bool, tools: tuple[Json, ...], member: Member
) -> None:
    answer = member.caller.ask(asking(prompt, *tools, stream=stream))
    assert (answer.status, answer.error["type"]) == (500, "api_error")
    assert answer.headers["x-should-retry"] == "false"
    told = answer.body.decode()
    assert not any(word in told for word in ("x-api-key", "organisation", "account 17", "upstream-secret"))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_answer_that_is_no_stream_is_a_failure_of_the_upstream(
    stream: bool, tools: tuple[Json, ...], member: Member
) -> None:
    answer = member.caller.ask(asking("not json", *tools, stream=stream))
    assert answer.status >= 500
    assert answer.error["type"] == "api_error"
    assert "sign-in" not in answer.error["message"]


def test_the_audit_log_knows_what_the_client_is_not_told(gateway: Any, member: Member) -> None:
    member.caller.ask(asking("credential refused", BASH))
    assert "401" in gateway.event("model.result", member.subject)["error"]
    assert gateway.event("turn.end", member.subject)["error"].startswith("api_error: ")
