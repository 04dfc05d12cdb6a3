"""Error bodies as each server words them: status, type and text in, JSON out.

Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.messages.errors import error_type
from tests.upstreams.dialects import ErrorForm

__all__ = ["error_body"]

_DATABRICKS: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_OPENAI: Mapping[int, str] = {401: "authentication_error", 429: "rate_limit_exceeded", 404: "not_found_error"}
_VLLM: Mapping[int, str] = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError"}


def error_body(form: ErrorForm, status: int, message: str, kind: str | None = None) -> dict[str, Any]:
    """The body; `kind` replaces the word that the server has for the status."""
    plain = kind or ("invalid_request_error" if 400 <= status < 500 else "server_error")
    match form:
        case "anthropic":
            return {"type": "error", "error": {"type": kind or error_type(status), "message": message}}
        case "databricks":
            return {"error_code": kind or _DATABRICKS.get(status, "INTERNAL_ERROR"), "message": message}
        case "mistral":
            return {"object": "error", "message": message, "type": plain, "param": None, "code": str(status)}
        case "vllm":
            word = kind or _VLLM.get(status, "InternalServerError")
            return {"error": {"message": message, "type": word, "param": None, "code": status}}
        case "llamacpp":
            return {"error": {"code": status, "message": message, "type": plain}}
        case "openrouter":
            return {"error": {"code": status, "message": message, "metadata": {"provider_name": "one"}}}
        case "openai":
            word = kind or _OPENAI.get(status, plain)
            return {"error": {"message": message, "type": word, "param": None, "code": None}}
