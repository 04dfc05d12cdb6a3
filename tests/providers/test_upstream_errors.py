"""What upstreams' error answers become: the API's own statuses and wordings, and nothing of the operator's."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages.errors import STATUS_TYPES
from gateway.providers.failures import (
    error_from_answer,
    error_from_event,
    names_no_endpoint,
    refuses_credential,
)

CREDENTIAL = "The gateway's credential was refused by its upstream model service. Tell the gateway's operator."
UNPAID = "The gateway's upstream account cannot be charged."
NO_ENDPOINT = "The gateway's upstream model service has no such endpoint."
NOT_READY = "The upstream model service is overloaded or not ready yet."
INNER = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_x"}


def databricks(code: str, message: Any = "said") -> dict[str, Any]:
    return {"error_code": code, "message": message if isinstance(message, str) else json.dumps(message)}


def openai(message: str = "said", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


TABLE: list[tuple[int, Any, int, str, str]] = [
    # Databricks
    (403, databricks("PERMISSION_DENIED"), 500, "api_error", CREDENTIAL),
    (401, databricks("UNAUTHENTICATED"), 500, "api_error", CREDENTIAL),
    (403, databricks("403", "Invalid access token."), 500, "api_error", CREDENTIAL),
    (404, databricks("RESOURCE_DOES_NOT_EXIST"), 404, "not_found_error", "said"),
    (404, databricks("ENDPOINT_NOT_FOUND"), 404, "not_found_error", "said"),
    (404, databricks("ENDPOINT_NOT_FOUND", "No API found for 'POST /x'"), 500, "api_error", NO_ENDPOINT),
    (400, databricks("BAD_REQUEST"), 400, "invalid_request_error", "said"),
    (400, databricks("INVALID_PARAMETER_VALUE"), 400, "invalid_request_error", "said"),
    (429, databricks("REQUEST_LIMIT_EXCEEDED"), 429, "rate_limit_error", "said"),
    (403, databricks("REQUEST_LIMIT_EXCEEDED"), 500, "api_error", CREDENTIAL),
    (400, databricks("RESOURCE_EXHAUSTED"), 429, "rate_limit_error", "said"),
    (503, databricks("TEMPORARILY_UNAVAILABLE"), 529, "overloaded_error", "said"),
    (500, databricks("INTERNAL_ERROR"), 500, "api_error", "said"),
    (504, databricks("DEADLINE_EXCEEDED"), 504, "timeout_error", "said"),
    (400, databricks("BAD_REQUEST", INNER), 529, "overloaded_error", "Overloaded"),
    (400, databricks("BAD_REQUEST", f"Bad: {json.dumps(INNER)} (again)"), 529, "overloaded_error", "Overloaded"),
    (400, databricks("BAD_REQUEST", {"message": json.dumps({"message": "in"})}), 400, "invalid_request_error", "in"),
    (400, databricks("BAD_REQUEST", {"error": {"type": "authentication_error", "message": "key"}}), 500, "api_error",
     CREDENTIAL),
    (503, b"<html>starting</html>", 529, "overloaded_error", NOT_READY),
    (503, databricks("INTERNAL_ERROR", "scaling from zero"), 529, "overloaded_error", "scaling from zero"),
    (502, openai("Provider returned error", code=503), 529, "overloaded_error", "Provider returned error"),
    (503, openai("Loading model", type="unavailable_error", code=503), 529, "overloaded_error", "Loading model"),
    (500, openai("busy", type="overloaded_error"), 529, "overloaded_error", "busy"),
    (503, {"detail": "starting at http://10.0.0.7:8000"}, 529, "overloaded_error", "starting at [removed]"),
    # OpenAI and its like
    (429, openai(type="insufficient_quota", code="insufficient_quota"), 500, "api_error", UNPAID),
    (429, openai(type="tokens", code="rate_limit_exceeded"), 429, "rate_limit_error", "said"),
    (404, openai(type="invalid_request_error", code="model_not_found"), 404, "not_found_error", "said"),
    (404, openai("The model `x` does not exist", type="NotFoundError", code=404), 404, "not_found_error",
     "The model `x` does not exist"),
    (401, openai("Incorrect API key provided: sk-ab***yz"), 500, "api_error", CREDENTIAL),
    (500, openai(type="server_error"), 500, "api_error", "said"),
    (503, openai(type="server_error", code="server_is_overloaded"), 529, "overloaded_error", "said"),
    (422, {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]}, 400, "invalid_request_error",
     "field required"),
    (400, {"error": "plain words"}, 400, "invalid_request_error", "plain words"),
    (404, {"detail": "Not Found"}, 500, "api_error", NO_ENDPOINT),
    (405, {"detail": "Method Not Allowed"}, 500, "api_error", NO_ENDPOINT),
    (402, openai("Insufficient credits"), 500, "api_error", UNPAID),
    (408, openai("slow"), 504, "timeout_error", "slow"),
    (524, b"<html></html>", 504, "timeout_error", "The upstream model service answered with status 504."),
    # Google, AWS
    (429, [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}], 429, "rate_limit_error", "m"),
    (403, [{"error": {"code": 403, "message": "said", "status": "PERMISSION_DENIED"}}], 500, "api_error", CREDENTIAL),
    (400, {"__type": "com.amazon#ThrottlingException", "message": "said"}, 429, "rate_limit_error", "said"),
    (424, {"message": "said"}, 500, "api_error", "said"),
    # Anthropic's own envelope
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "tools.0: `x` no"}}, 400,
     "invalid_request_error", "tools.0: `x` no"),
    (529, INNER, 529, "overloaded_error", "Overloaded"),
    (500, INNER, 529, "overloaded_error", "Overloaded"),
    (503, {"type": "error", "error": {"type": "api_error", "message": "m"}}, 529, "overloaded_error", "m"),
    (400, {"type": "error", "error": {"type": "invalid_request_error",
     "message": "Your credit balance is too low to access the Anthropic API."}}, 500, "api_error", UNPAID),
    (418, {"type": "error", "error": {"type": "teapot_error", "message": "said"}}, 418, "teapot_error", "said"),
    # Not even an error
    (302, b"", 500, "api_error", NO_ENDPOINT),
    (204, b"", 500, "api_error", NO_ENDPOINT),
    (400, b"\xff\xfe", 400, "invalid_request_error", "The upstream model service answered with status 400."),
    (400, b"[" * 100_000, 400, "invalid_request_error", "The upstream model service answered with status 400."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "told", "kind", "message"), TABLE)
def test_an_error_answer_gets_the_apis_status_type_and_text(
    status: int, body: Any, told: int, kind: str, message: str
) -> None:
    error = error_from_answer(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (error.status, error.type, error.message) == (told, kind, message)
    assert error.should_retry is (False if message in (CREDENTIAL, UNPAID, NO_ENDPOINT) else None)


FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure's policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {
            "violence": {"filtered": True, "severity": "high"},
            "hate": {"filtered": False, "severity": "safe"},
        },
    },
}


@pytest.mark.parametrize(
    "body",
    [
        {"error": FILTERED},
        FILTERED,
        {"error": {"message": "x"}, "innererror": FILTERED["innererror"]},
        {"error": {"message": "x", "content_filter_results": {"violence": {"filtered": True}}}},
    ],
)
def test_a_content_filter_refuses_the_request_and_names_what_it_found(body: dict[str, Any]) -> None:
    error = error_from_answer(400, {}, json.dumps(body).encode())
    assert (error.status, error.type, error.should_retry) == (400, "invalid_request_error", False)
    assert error.message == "The upstream's content filter blocked this request (violence)."


RETRY_AFTER = [
    ({"retry-after": "7"}, "7"),
    ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "Wed, 21 Oct 2026 07:28:00 GMT"),
    ({"retry-after-ms": "1200"}, "2"),
    ({"retry-after": "7", "retry-after-ms": "1"}, "7"),
    ({"retry-after": "x\ty"}, None),
    ({"retry-after-ms": "-1"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "wait"), RETRY_AFTER)
def test_the_time_to_wait_is_kept(headers: dict[str, str], wait: str | None) -> None:
    for status in (429, 503):
        error = error_from_answer(status, headers, b"{}")
        assert (error.retry_after, error.answer.headers.get("retry-after")) == (wait, wait)


EVENTS = [
    ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 529, "overloaded_error"),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, 429, "rate_limit_error"),
    ({"type": "error", "error": {"type": "permission_error", "message": "m"}}, 500, "api_error"),
    ({"type": "error", "error": {"type": "request_too_large", "message": "m"}}, 413, "request_too_large"),
    ({"error": {"code": 502, "message": "m"}}, 502, "api_error"),
    ({"error": {"code": 503, "message": "m"}}, 529, "overloaded_error"),
    ({"error": {"type": "overloaded_error", "message": "m"}}, 529, "overloaded_error"),
    ({"error": {"code": "429", "message": "m"}}, 429, "rate_limit_error"),
    ({"error": {"type": "server_error", "message": "m"}}, 500, "api_error"),
    ({"error": {"type": "BadRequestError", "code": 400, "message": "m"}}, 400, "invalid_request_error"),
    ({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "m"}, 429, "rate_limit_error"),
    ({"object": "error", "message": "m"}, 500, "api_error"),
    ({"error": "m"}, 500, "api_error"),
    ({"error": {}}, 500, "api_error"),
    ({}, 500, "api_error"),
]


@pytest.mark.parametrize(("data", "status", "kind"), EVENTS)
def test_an_error_in_a_200_answer_gets_the_status_it_would_have_had(
    data: dict[str, Any], status: int, kind: str
) -> None:
    error = error_from_event(data)
    assert (error.status, error.type) == (status, kind)
    assert error.message


def test_details_pass_without_the_operators_names() -> None:
    details = {"error_code": "file_expired", "paths": ["https://adb-1.azuredatabricks.net/x", 5]}
    body = {"type": "error", "error": {"type": "not_found_error", "message": "m", "details": details}}
    error = error_from_answer(404, {}, json.dumps(body).encode())
    assert error.answer.details == {"error_code": "file_expired", "paths": ["[removed]", 5]}


def test_the_log_names_the_host_but_no_secret() -> None:
    body = {"error": {"message": "dapi0123456789abcdef is not valid at https://adb-7.azuredatabricks.net", "code": "X"}}
    error = error_from_answer(401, {}, json.dumps(body).encode())
    assert error.reason == "upstream answered 401 [x]: '[removed] is not valid at https://adb-7.azuredatabricks.net'"


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (401, b"", True),
        (403, b'{"error_code":"403","message":"Invalid access token."}', True),
        (403, b'{"message":"The token is expired"}', True),
        (403, b'{"error_code":"PERMISSION_DENIED","message":"no access to endpoint"}', False),
        (400, b'{"message":"invalid token"}', False),
    ],
)
def test_only_a_refused_token_is_worth_a_fresh_one(status: int, body: bytes, refused: bool) -> None:
    assert refuses_credential(status, body) is refused


@pytest.mark.parametrize(
    ("status", "body", "missing"),
    [
        (404, b"<html>", True),
        (404, b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}', False),
        (400, b'{"message":"Path must be of form /serving-endpoints/<name>/invocations"}', True),
        (400, b"", False),
        (501, b"{}", True),
        (500, b"", False),
    ],
)
def test_a_missing_path_is_told_from_a_missing_model(status: int, body: bytes, missing: bool) -> None:
    assert names_no_endpoint(status, body) is missing


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from(["error", "401", "403"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["error", "type", "message", "code", "status", "error_code", "detail", "details", "innererror", "msg",
             "content_filter_result", "n_ctx", "n_prompt_tokens"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(status=st.integers(100, 999), body=JSON, wrapped=st.booleans())
def test_whatever_an_upstream_says_the_client_is_never_told_to_log_in_or_pay(
    status: int, body: Any, wrapped: bool
) -> None:
    if wrapped:
        body = {"error_code": "BAD_REQUEST", "message": json.dumps(body)}
    error = error_from_answer(status, {}, json.dumps(body).encode())
    assert error.status >= 400
    assert error.status not in (401, 402, 403)
    assert error.message
    assert error.type not in ("authentication_error", "permission_error") or error.status == 500
    if isinstance(body, dict):
        told = error_from_event(body)
        assert told.status >= 400
        assert told.status not in (401, 402, 403)


def test_every_type_of_the_api_keeps_its_status_in_its_own_envelope() -> None:
    for status, kind in STATUS_TYPES.items():
        if status in (401, 402, 403, 501):
            continue
        body = {"type": "error", "error": {"type": kind, "message": "unchanged `text`"}}
        error = error_from_answer(status, {}, json.dumps(body).encode())
        assert (error.status, error.type, error.message) == (status, kind, "unchanged `text`")
