"""Request bodies within a size."""

from __future__ import annotations

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.messages.errors import ApiError


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Past `limit` bytes nothing more is read and the request is refused with 413."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise ApiError(400, "invalid_request_error", "The client closed the connection in its body.") from error
    return bytes(body)


def _too_large(limit: int) -> ApiError:
    text = f"Request exceeds the maximum size: {limit} bytes are allowed."
    return ApiError(413, "request_too_large", text, headers={"connection": "close"})
