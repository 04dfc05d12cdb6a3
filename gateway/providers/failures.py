"""Reads an upstream's error answer: which failure it is, and what of it a client may see.

Pure functions from status, headers and body to a failure. Knows no HTTP library.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.errors import error_type, status_of_type
from gateway.providers.base import UpstreamError, refused_credential

__all__ = ["MAX_ERROR_BODY", "error_from_answer", "error_from_event"]

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are read; the rest is not looked at."""

_TYPE = re.compile(r"[a-z][a-z_]{0,63}")
_RETRY_AFTER = re.compile(r"[A-Za-z0-9,: .-]{1,64}")
_OUR_CREDENTIAL = frozenset({"authentication_error", "permission_error"})


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The failure for an HTTP answer that is no success.

    The text of an error envelope is passed on unchanged: clients match its wording to heal themselves.
    Anything that is no envelope (a proxy's HTML) is described in our own words.
    """
    error = _inner(_object(body))
    message = error.get("message")
    if status in (401, 403):
        return refused_credential(f"upstream answered {status}: {message or body[:200]!r}")
    if status == 402:
        return _ours("The gateway's upstream account cannot be charged.", status, message)
    if not isinstance(message, str) or not message:
        if status == 404 or status < 400:
            return _ours("The gateway's upstream model service has no such endpoint.", status, message)
        message = f"The upstream model service answered with status {status}."
    kind = error.get("type")
    details = error.get("details")
    return UpstreamError(
        status,
        kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else error_type(status),
        message,
        retry_after=_retry_after(headers),
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "")),
        details=details if isinstance(details, dict) else None,
    )


def error_from_event(data: Mapping[str, Any]) -> UpstreamError:
    """The failure for an `error` event, or an error object in a 200 answer: the type gives the status."""
    error = _inner(data)
    kind = error.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        kind = "api_error"
    message = error.get("message")
    if kind in _OUR_CREDENTIAL:
        return refused_credential(f"upstream sent {kind}: {message!r}")
    text = message if isinstance(message, str) and message else "The upstream model service failed."
    details = error.get("details")
    return UpstreamError(status_of_type(kind), kind, text, details=details if isinstance(details, dict) else None)


def _ours(message: str, status: int, upstream_message: object) -> UpstreamError:
    """A fault between gateway and upstream that no retry and no client can mend."""
    reason = f"upstream answered {status}: {upstream_message!r}"
    return UpstreamError(500, "api_error", message, should_retry=False, reason=reason)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        decoded = jsonbytes.decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(decoded, list) and decoded:  # Google's front ends wrap the object in a list
        decoded = decoded[0]
    return decoded if isinstance(decoded, dict) else {}


def _inner(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = envelope.get("error")
    return inner if isinstance(inner, dict) else envelope


def _retry_after(headers: Mapping[str, str]) -> str | None:
    value = headers.get("retry-after")
    return value if value is not None and _RETRY_AFTER.fullmatch(value) else None
