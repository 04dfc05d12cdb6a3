"""Records of sessions: what was opened for whom, and how it ended. Kept after the sandbox is gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from gateway.store.engine import reading, writing
from gateway.store.tables import sessions


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session. Times are UNIX seconds; `workspace` is the JSON form of the driver's workspace."""

    id: str
    subject: str
    workspace: dict[str, Any]
    driver: str
    opened_at: float
    last_used_at: float
    key_id: str | None = None
    client_session: str | None = None
    container: str | None = None
    profile_digest: str | None = None
    closed_at: float | None = None
    close_reason: str | None = None


class SessionRecords:
    """The session records of one store."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def insert(self, record: SessionRecord) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.insert(sessions), asdict(record))

    def touch(self, session_id: str, now: float) -> None:
        """The session worked at `now`."""
        self._update(session_id, last_used_at=now)

    def close(self, session_id: str, now: float, reason: str) -> bool:
        """Note the end; False if there is no such open session. The first end stays."""
        return self._update(session_id, closed_at=now, close_reason=reason)

    def close_all_open(self, now: float, reason: str) -> list[SessionRecord]:
        """Note the end of every session a dead gateway left open; returns them as they were."""
        with writing(self._engine) as connection:
            rows = connection.execute(sa.select(sessions).where(sessions.c.closed_at.is_(None))).mappings().all()
            connection.execute(
                sa.update(sessions).where(sessions.c.closed_at.is_(None)).values(closed_at=now, close_reason=reason)
            )
        return [SessionRecord(**row) for row in rows]

    def get(self, session_id: str) -> SessionRecord | None:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(sessions).where(sessions.c.id == session_id)).mappings().first()
        return None if row is None else SessionRecord(**row)

    def list(self, *, subject: str | None = None, open_only: bool = False, limit: int = 100) -> list[SessionRecord]:
        """The newest first."""
        query = sa.select(sessions).order_by(sessions.c.opened_at.desc(), sessions.c.id).limit(limit)
        if subject is not None:
            query = query.where(sessions.c.subject == subject)
        if open_only:
            query = query.where(sessions.c.closed_at.is_(None))
        with reading(self._engine) as connection:
            return [SessionRecord(**row) for row in connection.execute(query).mappings()]

    def _update(self, session_id: str, **values: Any) -> bool:
        target = sa.and_(sessions.c.id == session_id, sessions.c.closed_at.is_(None))
        with writing(self._engine) as connection:
            return connection.execute(sa.update(sessions).where(target).values(**values)).rowcount == 1
