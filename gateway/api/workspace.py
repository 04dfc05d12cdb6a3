"""Which directory the caller's sandboxes get, so that a client can tell whether this gateway serves its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of

router = APIRouter(prefix="/api/workspace")


@router.get("")
async def get_workspace(request: Request) -> dict[str, Any]:
    """`served` is false when the key names a directory outside WORKSPACE_ROOT: no sandbox would open on it."""
    principal = await authenticate(request)
    settings = context_of(request).settings
    root = settings.workspace_root.resolve()
    source = Path(principal.workspace) if principal.workspace is not None else root
    return {
        "source": str(source),
        "mode": principal.workspace_mode or settings.workspace_mode,
        "served": source.resolve().is_relative_to(root),
    }
