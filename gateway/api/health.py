"""Whether the gateway lives and whether it can work; no credentials needed, nothing told but that."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway import __version__
from gateway.api.context import context_of

router = APIRouter()


@router.head("/")
async def warm_up() -> Response:
    """Clients knock here before their first request."""
    return Response()


@router.get("/")
async def about() -> dict[str, str]:
    return {"name": "bulkhead", "version": __version__}


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health")
@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """Audit and sandboxes are usable; 503 and the reason when not."""
    problem = context_of(request).problem()
    if problem is not None:
        return JSONResponse({"status": "unavailable", "reason": problem}, 503)
    return JSONResponse({"status": "ok"})
