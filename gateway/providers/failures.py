"""Decides what an upstream's error answer means, and what of it a client may see.

Pure functions from status, headers and body to a failure. Knows no HTTP library. What bodies look like is
in `error_shapes`, what codes mean in `error_codes`, what must not leave in `redaction`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from gateway.messages.errors import STATUS_TYPES, error_type, status_of_type
from gateway.providers.base import UpstreamError, refused_credential
from gateway.providers.error_codes import (
    ACCOUNT_CODES,
    ACCOUNT_WORDINGS,
    CODE_STATUSES,
    CREDENTIAL_CODES,
    FILTER_CODES,
    HTTP_STATUSES,
    NO_ENDPOINT_WORDINGS,
    REFUSED_TOKEN,
)
from gateway.providers.error_shapes import Told, told_by, told_by_object
from gateway.providers.overflow import overflow_message
from gateway.providers.redaction import for_client, for_client_value, for_log

__all__ = ["MAX_ERROR_BODY", "error_from_answer", "error_from_event", "names_no_endpoint", "refuses_credential"]

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error answer that are read; the rest is not looked at."""

_TYPE = re.compile(r"[a-z][a-z_]{0,63}")
_RETRY_AFTER = re.compile(r"[A-Za-z0-9,: .-]{1,64}")
_KNOWN_TYPES = frozenset(STATUS_TYPES.values())
_NO_ENDPOINT = "The gateway's upstream model service has no such endpoint."
_UNPAID = "The gateway's upstream account cannot be charged."
_WORDLESS = {529: "The upstream model service is overloaded or not ready yet."}
_LOGGED = 300


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The failure for an HTTP answer that is no success. `headers`: lower-case names.

    The text of an error envelope is passed on, unchanged unless it holds something of the operator's:
    clients match its wording to heal themselves. A prompt that did not fit is said in the wording they
    know. Anything that is no envelope (a proxy's HTML) is described in our own words. What is wrong between
    gateway and upstream (credential, account, path) is a 500 that no client retries, never a 401 or 402.
    """
    told = told_by(body)
    if status < 400 or (status != 400 and names_no_endpoint(status, body)):
        return _ours(_NO_ENDPOINT, _reason(status, told, body))
    return _failure(status, headers, told, _reason(status, told, body))


def error_from_event(data: Mapping[str, Any]) -> UpstreamError:
    """The failure for an `error` event, or an error object in a 200 answer: its type or code gives the status."""
    told = told_by_object(data)
    status = told.status or CODE_STATUSES.get(told.kind.lower()) or status_of_type(told.kind)
    return _failure(status, {}, told, f"upstream sent an error: {_reason(status, told, b'')}")


def refuses_credential(status: int, body: bytes) -> bool:
    """Whether a fresh token may change this answer: a 401, or a 403 that speaks of the token."""
    if status != 403:
        return status == 401
    message = told_by(body).message
    return any(wording.search(message) for wording in REFUSED_TOKEN)


def names_no_endpoint(status: int, body: bytes) -> bool:
    """Whether this answer says that the upstream has no such path, as opposed to no such model."""
    if status in (405, 501):
        return True
    if status not in (400, 404):
        return False
    message = told_by(body).message
    said = any(wording.search(message) for wording in NO_ENDPOINT_WORDINGS)
    return said or (status == 404 and message == "")


def _failure(status: int, headers: Mapping[str, str], told: Told, reason: str) -> UpstreamError:
    codes = {*told.codes, told.kind.lower()}
    if codes & ACCOUNT_CODES or status == 402 or any(one.search(told.message) for one in ACCOUNT_WORDINGS):
        return _ours(_UNPAID, reason)
    if told.filtered is not None or codes & FILTER_CODES:
        return _filtered(told, reason)
    if status in (401, 403) or codes & CREDENTIAL_CODES:
        return refused_credential(reason)
    overflow = overflow_message(told.message, frozenset(codes), told.fields) if status != 429 else None
    if overflow is not None:
        status = 413 if status == 413 else 400
        return UpstreamError(status, error_type(status), overflow, details=_details(told), reason=reason)
    given, status = status, _status(status, told)
    return UpstreamError(
        status,
        _type(status, told) if status == given else error_type(status),
        for_client(told.message) or _WORDLESS.get(status, f"The upstream model service answered with status {status}."),
        retry_after=_retry_after(headers),
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "")),
        details=_details(told),
        reason=reason,
    )


def _filtered(told: Told, reason: str) -> UpstreamError:
    """A refusal of this very request: sending it again changes nothing."""
    categories = f" ({', '.join(told.filtered)})" if told.filtered else ""
    message = f"The upstream's content filter blocked this request{categories}."
    return UpstreamError(400, "invalid_request_error", message, should_retry=False, reason=reason)


def _ours(message: str, reason: str) -> UpstreamError:
    """A fault between gateway and upstream that no retry and no client can mend."""
    return UpstreamError(500, "api_error", message, should_retry=False, reason=reason)


def _status(status: int, told: Told) -> int:
    """The Messages API's own envelope came with its own status; elsewhere the most telling known code counts. Of a
    server's failures overload is told apart wherever it is said: clients wait for it as for nothing else."""
    if status >= 500 and (503 in (status, told.status) or CODE_STATUSES.get(told.kind.lower()) == 529):
        return 529
    if not told.anthropic or told.wrapped:
        for code in reversed(told.codes):
            known = CODE_STATUSES.get(code) or (status_of_type(code) if code in _KNOWN_TYPES else None)
            if known is not None:
                return known
    return HTTP_STATUSES.get(status, status)


def _type(status: int, told: Told) -> str:
    """The upstream's own type where it speaks the Messages API, also one we do not know; else the status's."""
    if told.kind in _KNOWN_TYPES and (told.anthropic or told.kind == error_type(status)):
        return told.kind
    return told.kind if told.anthropic and _TYPE.fullmatch(told.kind) else error_type(status)


def _details(told: Told) -> dict[str, Any] | None:
    return for_client_value(dict(told.details)) if told.details is not None else None


def _reason(status: int, told: Told, body: bytes) -> str:
    codes = f" [{', '.join(told.codes)}]" if told.codes else ""
    said = told.message or body.decode("utf-8", "replace")
    return f"upstream answered {status}{codes}: {for_log(said[:_LOGGED])!r}"


def _retry_after(headers: Mapping[str, str]) -> str | None:
    value = headers.get("retry-after")
    if value is not None and _RETRY_AFTER.fullmatch(value):
        return value
    milliseconds = headers.get("retry-after-ms", "")
    return str(math.ceil(int(milliseconds) / 1000)) if re.fullmatch(r"\d{1,9}", milliseconds) else None
