"""Errors in the API's envelope, and the sums of token counts."""

import pytest

from gateway.messages import usage
from gateway.messages.errors import (
    STATUS_TYPES,
    ApiError,
    InvalidRequest,
    envelope,
    error_type,
    policy_blocked,
    status_of_type,
)

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    501: "not_supported",
    504: "timeout_error",
    529: "overloaded_error",
}


def test_every_status_has_the_apis_type() -> None:
    assert dict(STATUS_TYPES) == TYPES
    for status, kind in TYPES.items():
        assert ApiError(status, message="m").type == kind
        assert status_of_type(kind) == status
    assert (error_type(418), error_type(503), status_of_type("unheard_of")) == (
        "invalid_request_error",
        "api_error",
        500,
    )


def test_the_envelope_carries_details_and_request_id_only_when_there_are_some() -> None:
    assert envelope(InvalidRequest("m")) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "m"},
    }
    full = ApiError(429, "billing_error", "spent", details={"error_code": "enforced_spend_limit_reached"})
    assert full.envelope("req_1") == {
        "type": "error",
        "error": {
            "type": "billing_error",
            "message": "spent",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
        "request_id": "req_1",
    }


def test_what_no_retry_can_mend_says_so() -> None:
    assert ApiError(501, message="no batches").headers == {"x-should-retry": "false"}
    blocked = policy_blocked("not here")
    assert (blocked.status, blocked.type, blocked.headers) == (400, "policy_blocked", {"x-should-retry": "false"})
    assert ApiError(429, message="later", headers={"retry-after": "5"}).headers == {"retry-after": "5"}


MERGED = [
    ({"input_tokens": 1}, {"output_tokens": 2}, {"input_tokens": 1, "output_tokens": 2}),
    ({"output_tokens": 1}, {"output_tokens": 9}, {"output_tokens": 9}),
    ({"input_tokens": 4}, {"input_tokens": None, "service_tier": None}, {"input_tokens": 4, "service_tier": None}),
    ({"input_tokens": 4}, None, {"input_tokens": 4}),
]


@pytest.mark.parametrize(("earlier", "later", "merged"), MERGED)
def test_later_usage_of_one_message_replaces_earlier(
    earlier: dict[str, object], later: dict[str, object] | None, merged: dict[str, object]
) -> None:
    assert usage.merge(earlier, later) == merged


def test_usage_of_the_calls_of_a_turn_adds_up() -> None:
    first = {
        "input_tokens": 10,
        "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 2},
        "server_tool_use": None,
        "service_tier": "standard",
        "iterations": [{"type": "message"}],
    }
    second = {
        "input_tokens": 5,
        "output_tokens": None,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "priority",
        "iterations": [{"type": "compaction"}],
    }
    assert usage.add(usage.add({}, first), second) == {
        "input_tokens": 15,
        "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "priority",
        "iterations": [{"type": "message"}, {"type": "compaction"}],
    }
    assert first["input_tokens"] == 10
