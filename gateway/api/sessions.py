"""The caller's sandbox sessions: list, look at, close."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from gateway.api.auth import authenticate
from gateway.api.context import context_of
from gateway.messages.errors import ApiError
from gateway.store.sessions import SessionRecord

router = APIRouter(prefix="/api/sessions")


@router.get("")
async def list_sessions(request: Request) -> dict[str, Any]:
    """The subject's sessions, the newest first."""
    principal = await authenticate(request)
    records = await asyncio.to_thread(context_of(request).records.list, subject=principal.subject)
    return {"data": [_shown(record) for record in records]}


@router.get("/{session_id}")
async def get_session(request: Request, session_id: str) -> dict[str, Any]:
    return _shown(await _own(request, session_id))


@router.delete("/{session_id}")
async def close_session(request: Request, session_id: str) -> dict[str, Any]:
    """Close it now: running calls fail, the sandbox is removed."""
    record = await _own(request, session_id)
    sessions = context_of(request).services.sessions
    session = sessions.find(record.id)
    if session is None:
        raise ApiError(409, "conflict_error", f"session {session_id} is not open in this gateway")
    await sessions.close(session, "closed by its owner")
    return {"id": session_id, "closed": True}


async def _own(request: Request, session_id: str) -> SessionRecord:
    principal = await authenticate(request)
    record = await asyncio.to_thread(context_of(request).records.get, session_id)
    if record is None or record.subject != principal.subject:
        raise ApiError(404, "not_found_error", f"session: {session_id}")
    return record


def _shown(record: SessionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "client_session": record.client_session,
        "workspace": record.workspace,
        "driver": record.driver,
        "opened_at": record.opened_at,
        "last_used_at": record.last_used_at,
        "closed_at": record.closed_at,
        "close_reason": record.close_reason,
    }
