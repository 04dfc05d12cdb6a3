"""GET and DELETE /api/cache: what the prompt cache holds for the caller's subject, and how to empty that.

There are no operator roles yet: a key sees and purges the answers of its own subject, nobody else's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of

router = APIRouter(prefix="/api/cache")


@router.get("")
async def get_cache(request: Request) -> dict[str, Any]:
    """The subject's entries and counters since the gateway's start, and the bounds that all subjects share."""
    principal = await authenticate(request)
    context = context_of(request)
    cache = context.prompt_cache
    return {
        "enabled": context.settings.prompt_cache_enabled,
        "subject": principal.subject,
        **asdict(cache.stats(principal.subject)),
        "max_entries": cache.max_entries,
        "max_bytes": cache.max_bytes,
        "ttl_seconds": cache.ttl_seconds,
    }


@router.delete("")
async def purge_cache(request: Request) -> dict[str, Any]:
    """Forget the subject's answers, also those that are being made now."""
    principal = await authenticate(request)
    return {"subject": principal.subject, "purged": context_of(request).prompt_cache.purge(principal.subject)}
