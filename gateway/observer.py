"""Writes what happens to sessions into the audit log and the store."""

from __future__ import annotations

import asyncio
import time

from gateway.audit.log import AuditLog
from gateway.sandbox.driver import Driver, Workspace
from gateway.sandbox.errors import SandboxError
from gateway.sandbox.session import Session, SessionKey, SessionObserver
from gateway.store.sessions import SessionRecord, SessionRecords


class RecordedSessions(SessionObserver):
    """A session is opened only after its intent is durable."""

    def __init__(self, audit: AuditLog, records: SessionRecords, driver: Driver) -> None:
        self._audit = audit
        self._records = records
        self._driver = driver

    async def opening(self, session_id: str, key: SessionKey, workspace: Workspace) -> int:
        return await self._audit.intent(
            "session.open",
            session=session_id,
            principal=key.subject,
            body={
                "client_session": key.client_session,
                "workspace": _described(workspace),
                "driver": self._driver.name,
                "profile": "default",
            },
        )

    async def opened(self, session: Session, intent: int) -> None:
        sandbox = session.sandbox
        await self._audit.record(
            "session.opened",
            session=session.id,
            principal=session.key.subject,
            body={
                "container": sandbox.id,
                "name": sandbox.name,
                "driver": sandbox.driver,
                "profile": sandbox.profile_digest,
                "uid": sandbox.uid,
            },
            intent=intent,
        )
        now = time.time()
        record = SessionRecord(
            id=session.id,
            subject=session.key.subject,
            workspace=_described(session.workspace),
            driver=sandbox.driver,
            opened_at=now,
            last_used_at=now,
            client_session=session.key.client_session,
            container=sandbox.id,
            profile_digest=sandbox.profile_digest,
        )
        await asyncio.to_thread(self._records.insert, record)

    async def open_failed(self, session_id: str, key: SessionKey, intent: int, error: SandboxError) -> None:
        await self._audit.record(
            "session.failed",
            session=session_id,
            principal=key.subject,
            body={"reason": error.reason, "message": str(error)},
            intent=intent,
        )

    async def closed(self, session: Session, reason: str) -> None:
        await self._audit.record(
            "session.close",
            session=session.id,
            principal=session.key.subject,
            body={"reason": reason, "container": session.sandbox.id},
        )
        await asyncio.to_thread(self._records.close, session.id, time.time(), reason)


def _described(workspace: Workspace) -> dict[str, str | None]:
    return {"mode": workspace.mode, "source": workspace.source, "mount": workspace.mount}
