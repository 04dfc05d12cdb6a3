"""The one place where anything that went wrong becomes an answer in the API's envelope."""

from __future__ import annotations

import secrets

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.agent.failures import answer_of
from gateway.audit.errors import AuditUnavailable
from gateway.messages import jsonbytes
from gateway.messages.errors import ApiError, InvalidRequest
from gateway.providers.base import UpstreamFailure
from gateway.sandbox.errors import SandboxError


class RequestIds:
    """Gives every request an id: in `request.state`, in the answer's `request-id` header, in log lines."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, named)


def _of_http(failure: HTTPException) -> ApiError:
    if failure.status_code == 405:
        return ApiError(405, "invalid_request_error", "This method is not offered here.", headers=failure.headers)
    if failure.status_code == 404:
        return ApiError(404, "not_found_error", "There is nothing at this path.")
    return ApiError(failure.status_code, None, str(failure.detail), headers=failure.headers)


def _of_parameter(failure: RequestValidationError) -> ApiError:
    first = failure.errors()[0]
    return InvalidRequest(f"{first['loc'][-1]}: {first['msg']}")


def install(app: FastAPI) -> None:
    """Handlers for every kind of failure."""

    async def handle(request: Request, failure: Exception) -> Response:
        request_id = getattr(request.state, "request_id", "")
        if isinstance(failure, HTTPException):
            error = _of_http(failure)
        elif isinstance(failure, RequestValidationError):
            error = _of_parameter(failure)
        else:
            error = answer_of(failure, request_id)
        body = jsonbytes.encode(error.envelope(request_id))
        return Response(body, error.status, dict(error.headers), "application/json")

    kinds = (
        ApiError,
        UpstreamFailure,
        AuditUnavailable,
        SandboxError,
        HTTPException,
        RequestValidationError,
        Exception,
    )
    for kind in kinds:
        app.add_exception_handler(kind, handle)
