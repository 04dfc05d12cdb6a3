"""GET /v1/models: the models on offer to a key, in the API's pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Query, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of
from gateway.messages.errors import ApiError

router = APIRouter()

Model = dict[str, Any]


@router.get("/v1/models")
async def list_models(
    request: Request,
    limit: int = Query(20, ge=1, le=1000),
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """One page, in the order of the list."""
    return page_of(await _models(request), limit, after_id=after_id, before_id=before_id)


# An id may hold slashes: the names of a hub's models do, and so do `upstream/model` ids.
@router.get("/v1/models/{model_id:path}")
async def get_model(request: Request, model_id: str) -> Model:
    """One model by id."""
    for model in await _models(request):
        if model["id"] == model_id:
            return model
    raise ApiError(404, "not_found_error", f"model: {model_id}")


async def _models(request: Request) -> list[Model]:
    """Those that the caller's key may use."""
    principal = await authenticate(request)
    context = context_of(request)
    offered = await context.services.router.models()
    return [model for model in offered if context.admission.allows(principal, model["id"])]


def page_of(
    models: Sequence[Model], limit: int, *, after_id: str | None = None, before_id: str | None = None
) -> dict[str, Any]:
    """The API's page: the first `limit` models after `after_id`, or the last `limit` before `before_id`. `has_more`
    speaks of the direction that was asked for. An id that is not in the list is passed over."""
    ids = [model["id"] for model in models]
    begin = ids.index(after_id) + 1 if after_id in ids else 0
    end = ids.index(before_id) if before_id in ids else len(ids)
    backwards = before_id in ids and after_id not in ids
    first, last = (max(begin, end - limit), end) if backwards else (begin, min(end, begin + limit))
    page = list(models[first:last]) if first < last else []
    return {
        "data": page,
        "has_more": first > begin if backwards else last < end,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }
