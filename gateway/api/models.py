"""GET /v1/models: the configured ids, or what the upstream offers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of
from gateway.messages.errors import ApiError

router = APIRouter()


@router.get("/v1/models")
async def list_models(
    request: Request,
    limit: int = Query(20, ge=1, le=1000),
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """One page, in the order of the list."""
    await authenticate(request)
    models = await _models(request)
    ids = [model["id"] for model in models]
    begin, end = 0, len(models)
    if after_id in ids:
        begin = ids.index(after_id) + 1
    if before_id in ids:
        end = ids.index(before_id)
        begin = max(begin, end - limit)
    page = models[begin : min(end, begin + limit)]
    return {
        "data": page,
        "has_more": (begin > 0) if before_id in ids else begin + limit < end,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


@router.get("/v1/models/{model_id}")
async def get_model(request: Request, model_id: str) -> dict[str, Any]:
    """One model by id."""
    await authenticate(request)
    for model in await _models(request):
        if model["id"] == model_id:
            return model
    raise ApiError(404, "not_found_error", f"model: {model_id}")


async def _models(request: Request) -> list[dict[str, Any]]:
    context = context_of(request)
    configured = context.settings.models
    if not configured:
        return await context.services.provider.models()
    return [
        {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in configured
    ]
