"""Errors as the Messages API words them: a status, a type, a message, headers, details.

Knows the envelope. Must not know who raises an error or which web framework sends it.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["STATUS_TYPES", "ApiError", "InvalidRequest", "envelope", "policy_blocked", "status_of_type"]

STATUS_TYPES: Mapping[int, str] = {
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
"""The error type that belongs to each HTTP status."""

_TYPE_STATUSES = {kind: status for status, kind in STATUS_TYPES.items()}

NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
"""Clients and official SDKs obey this header over the status; without it some statuses cost minutes."""


class ApiError(Exception):
    """An answer that is an error envelope.

    `headers` are lower-case and go on the HTTP answer (retry-after, x-should-retry); once a stream has
    begun only the envelope can be sent.
    """

    def __init__(
        self,
        status: int,
        type: str | None = None,  # noqa: A002 - the field's name on the wire
        message: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type or error_type(status)
        self.message = message
        self.headers: dict[str, str] = dict(NO_RETRY) if status == 501 else {}
        self.headers.update(headers or {})
        self.details: dict[str, Any] | None = dict(details) if details is not None else None

    def envelope(self, request_id: str | None = None) -> dict[str, Any]:
        """This error as the API's JSON body; the same object travels in an `error` event."""
        return envelope(self, request_id)


class InvalidRequest(ApiError):
    """400: the request breaks a rule of the API. The message begins with the path of the fault."""

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(400, "invalid_request_error", message, details=details)


def policy_blocked(message: str) -> ApiError:
    """400 that no client retries: the organisation's policy refuses this."""
    return ApiError(400, "policy_blocked", message, headers=NO_RETRY)


def error_type(status: int) -> str:
    """The type for any status: unknown 4xx are the request's fault, everything else is ours."""
    known = STATUS_TYPES.get(status)
    if known is not None:
        return known
    return "invalid_request_error" if 400 <= status < 500 else "api_error"


def status_of_type(kind: str) -> int:
    """The status for an error type that arrived without one, in the middle of a stream. Unknown: 500."""
    return _TYPE_STATUSES.get(kind, 500)


def envelope(error: ApiError, request_id: str | None = None) -> dict[str, Any]:
    """`{"type": "error", "error": {type, message, details?}, "request_id"?}`"""
    inner: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.details is not None:
        inner["details"] = error.details
    body: dict[str, Any] = {"type": "error", "error": inner}
    if request_id is not None:
        body["request_id"] = request_id
    return body
