"""Making and changing API keys: the key and its audit event in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from gateway.audit.body import encode_body
from gateway.audit.chain import Entry, make_entry
from gateway.audit.writer import append, open_chain
from gateway.settings import Settings
from gateway.store.engine import writing
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import KeyRecord, Keys, WorkspaceMode


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be; `expires` in UNIX seconds."""

    name: str
    subject: str
    workspace: str | None = None
    mode: WorkspaceMode | None = None
    expires: float | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)


def issue(settings: Settings, engine: sa.Engine, wanted: NewKey, by: str) -> tuple[KeyRecord, str]:
    """A key and its secret, which cannot be had again. Raises `ValueError` for names that do not fit."""
    seal = open_chain(engine, settings.audit_key_path)
    with writing(engine) as connection:
        made = Keys(engine).create(
            wanted.name,
            wanted.subject,
            wanted.workspace,
            wanted.mode,
            wanted.expires,
            wanted.limits,
            connection=connection,
        )
        append(connection, seal, [_event(made[0], by)])
    return made


def issue_first(settings: Settings, engine: sa.Engine, wanted: NewKey) -> tuple[KeyRecord, str] | None:
    """A key if the store never had one, else None."""
    seal = open_chain(engine, settings.audit_key_path)
    with writing(engine) as connection:
        made = Keys(engine).create_first(wanted.name, wanted.subject, connection=connection)
        if made is not None:
            append(connection, seal, [_event(made[0], "first start")])
    return made


def revoke(settings: Settings, engine: sa.Engine, key_id: str, by: str) -> KeyRecord | None:
    """End a key for good; None if there is no such key."""
    seal = open_chain(engine, settings.audit_key_path)
    with writing(engine) as connection:
        record = Keys(engine).revoke(key_id, connection=connection)
        if record is not None:
            body = {"key_id": record.id, "name": record.name, "subject": record.subject, "by": by}
            entry = make_entry("key.revoked", session=None, principal=record.subject, body=encode_body(body))
            append(connection, seal, [entry])
    return record


def limit(
    settings: Settings, engine: sa.Engine, key_id: str, change: Callable[[KeyLimits], KeyLimits], by: str
) -> KeyRecord | None:
    """Give a key other limits, made from those it has; None if there is no such key."""
    seal = open_chain(engine, settings.audit_key_path)
    with writing(engine) as connection:
        before = Keys(engine).get(key_id, connection=connection)
        if before is None:
            return None
        record = Keys(engine).limit(key_id, change(before.limits), connection=connection)
        if record is not None:
            body = {
                "key_id": record.id,
                "name": record.name,
                "subject": record.subject,
                "before": before.limits.stored(),
                "limits": record.limits.stored(),
                "by": by,
            }
            entry = make_entry("key.limited", session=None, principal=record.subject, body=encode_body(body))
            append(connection, seal, [entry])
    return record


def _event(record: KeyRecord, by: str) -> Entry:
    body = {
        "key_id": record.id,
        "name": record.name,
        "subject": record.subject,
        "workspace": record.workspace,
        "workspace_mode": record.workspace_mode,
        "expires_at": record.expires_at,
        "limits": record.limits.stored(),
        "by": by,
    }
    return make_entry("key.created", session=None, principal=record.subject, body=encode_body(body))
