"""What a client is told when a turn fails: one answer for every way it can."""

from __future__ import annotations

import structlog

from gateway.audit.errors import AuditUnavailable
from gateway.messages.errors import NO_RETRY, ApiError
from gateway.providers.base import UpstreamFailure
from gateway.sandbox.errors import SandboxError, SandboxUnavailable, WorkspaceRefused

log = structlog.get_logger(__name__)


def answer_of(failure: BaseException, request_id: str) -> ApiError:
    """The answer; what was not foreseen is logged with its traceback and told as the gateway's own fault."""
    cause = failure
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, ApiError):
        return cause
    if isinstance(cause, UpstreamFailure):
        return cause.answer
    if isinstance(cause, AuditUnavailable):
        return ApiError(500, "api_error", f"Nothing was run: {cause}.", headers=NO_RETRY)
    if isinstance(cause, WorkspaceRefused):
        return ApiError(400, "invalid_request_error", f"The workspace cannot be used: {cause}", headers=NO_RETRY)
    if isinstance(cause, SandboxUnavailable) and cause.reason == "busy":
        return ApiError(529, "overloaded_error", str(cause))
    if isinstance(cause, SandboxError):
        return ApiError(500, "api_error", f"The sandbox is not available: {cause}", headers=NO_RETRY)
    log.error("unexpected_failure", exc_info=cause)
    return ApiError(500, "api_error", f"The gateway failed; its log names request {request_id}.")
