"""Who is calling: an API key as bearer or x-api-key. Neither header ever goes upstream."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request

from gateway.api.context import ApiContext, context_of
from gateway.messages.errors import NO_RETRY, ApiError
from gateway.store.keys import Principal


async def authenticate(request: Request) -> Principal:
    """The principal of the request. Raises `ApiError`."""
    peer = request.client.host if request.client is not None else None
    return await principal_of(context_of(request), request.headers, peer, request.url.path)


async def principal_of(context: ApiContext, headers: Mapping[str, str], peer: str | None, path: str) -> Principal:
    """Who the headers say is calling.

    Clients may send both headers, with different values; the one that authenticates counts. Every refusal
    looks the same to the caller; the audit log knows which it was.
    """
    refusal, key_id = "missing", None
    for secret in _credentials(headers):
        verdict = await context.keys.verify(secret)
        if verdict.principal is not None:
            return verdict.principal
        refusal = verdict.refusal or "unknown"
        key_id = verdict.record.id if verdict.record is not None else None
    await context.services.audit.record(
        "auth.refused",
        session=None,
        principal=None,
        body={
            "refusal": refusal,
            "key_id": key_id,
            "peer": peer,
            "path": path,
        },
    )
    if refusal == "missing":
        text = "x-api-key or Authorization header is required: send a key made by `bulkhead keys create`."
    else:
        text = "invalid api key: make one with `bulkhead keys create`."
    raise ApiError(401, "authentication_error", text, headers=NO_RETRY)


def _credentials(headers: Mapping[str, str]) -> list[str]:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    offered = [bearer.strip() if scheme.lower() == "bearer" else "", headers.get("x-api-key", "").strip()]
    return list(dict.fromkeys(secret for secret in offered if secret))
