"""Reading the log: filtered, newest first, and what belongs to one event. Reads are not verification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.audit.chain import StoredEvent
from gateway.store.engine import reading
from gateway.store.tables import audit_events

COLUMNS = (
    audit_events.c.seq,
    audit_events.c.ts,
    audit_events.c.kind,
    audit_events.c.session,
    audit_events.c.principal,
    audit_events.c.intent_seq,
    audit_events.c.body,
    audit_events.c.prev_hash,
    audit_events.c.hash,
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: each field narrows. `kind` may end in `*`; `since` is RFC 3339 text, or its beginning."""

    session: str | None = None
    principal: str | None = None
    kind: str | None = None
    since: str | None = None
    limit: int = 50


def find(engine: sa.Engine, wanted: Filter) -> list[StoredEvent]:
    """The newest events that match, oldest of them first."""
    query = sa.select(*COLUMNS).order_by(audit_events.c.seq.desc()).limit(wanted.limit)
    if wanted.session is not None:
        query = query.where(audit_events.c.session == wanted.session)
    if wanted.principal is not None:
        query = query.where(audit_events.c.principal == wanted.principal)
    if wanted.kind is not None and wanted.kind.endswith("*"):
        query = query.where(audit_events.c.kind.startswith(wanted.kind[:-1], autoescape=True))
    elif wanted.kind is not None:
        query = query.where(audit_events.c.kind == wanted.kind)
    if wanted.since is not None:
        query = query.where(audit_events.c.ts >= wanted.since)
    with reading(engine) as connection:
        return [StoredEvent(*row) for row in connection.execute(query)][::-1]


def related(engine: sa.Engine, seq: int) -> list[StoredEvent]:
    """The event `seq`, the intent it answers and what answers it, in order; empty if it is not there."""
    with reading(engine) as connection:
        own = connection.execute(sa.select(audit_events.c.intent_seq).where(audit_events.c.seq == seq)).first()
        if own is None:
            return []
        root = seq if own[0] is None else own[0]
        query = sa.select(*COLUMNS).where(
            sa.or_(audit_events.c.seq.in_({seq, root}), audit_events.c.intent_seq == root)
        )
        return [StoredEvent(*row) for row in connection.execute(query.order_by(audit_events.c.seq))]


def stream(connection: sa.Connection) -> Iterator[StoredEvent]:
    """Every event in order, read a piece at a time."""
    result = connection.execution_options(yield_per=2000).execute(sa.select(*COLUMNS).order_by(audit_events.c.seq))
    for row in result:
        yield StoredEvent(*row)
