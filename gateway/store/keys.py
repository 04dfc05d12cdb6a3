"""API keys: who may call the gateway. A secret is shown once and kept only as its SHA-256.

Secrets carry 256 random bits, so a plain hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import sqlalchemy as sa

from gateway.store.engine import StoreError, reading, writing
from gateway.store.keylimits import KeyLimits
from gateway.store.tables import api_keys

WorkspaceMode = Literal["bind", "copy"]
Refusal = Literal["malformed", "unknown", "revoked", "expired"]

_SECRET = re.compile(r"bh_([0-9a-z]{12})_[A-Za-z0-9_-]{43}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")

LAST_USED_SECONDS = 60.0
"""`last_used_at` is at most this much behind: writing it at every request would cost a commit each."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from, as the key says."""

    subject: str
    key_id: str
    name: str
    workspace: str | None = None
    workspace_mode: WorkspaceMode | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key without its secret. Times are UNIX seconds."""

    id: str
    name: str
    subject: str
    workspace: str | None
    workspace_mode: WorkspaceMode | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def principal(self) -> Principal:
        return Principal(self.subject, self.id, self.name, self.workspace, self.workspace_mode, self.limits)

    def refusal(self, now: float) -> Refusal | None:
        """Why the key is no longer good at `now`, if it is not."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return None


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """The answer to "is this secret good?": a principal, or why not.

    `record` is there when the secret was right, also for a revoked or expired key, so that the audit log can
    name it. Never tell the caller which refusal it was.
    """

    principal: Principal | None
    refusal: Refusal | None = None
    record: KeyRecord | None = None


class Keys:
    """The keys of one store."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(
        self,
        name: str,
        subject: str,
        workspace: str | None = None,
        mode: WorkspaceMode | None = None,
        expires: float | None = None,
        limits: KeyLimits | None = None,
        *,
        connection: sa.Connection | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key: its record, and its secret, which cannot be had again.

        `name` and `subject` are 1-128 characters of letters, digits and `._@+-`; anything else is a
        `ValueError`. `expires` is in UNIX seconds. With `connection` the caller's transaction is used.
        """
        for what, value in (("name", name), ("subject", subject)):
            if not _LABEL.fullmatch(value):
                raise ValueError(f"{what} {value!r} must be 1-128 letters, digits or ._@+-, the first no sign")
        identity = secrets.token_hex(6)
        secret = f"bh_{identity}_{secrets.token_urlsafe(32)}"
        limits = limits or KeyLimits()
        record = KeyRecord(identity, name, subject, workspace, mode, time.time(), expires, None, None, limits)
        row = {
            "id": identity,
            "name": name,
            "subject": subject,
            "secret_hash": sha256(secret.encode()).digest(),
            "workspace": workspace,
            "workspace_mode": mode,
            "created_at": record.created_at,
            "expires_at": expires,
            "limits": limits.stored() or None,
        }
        if connection is not None:
            connection.execute(sa.insert(api_keys), row)
        else:
            with writing(self._engine) as own:
                own.execute(sa.insert(api_keys), row)
        return record, secret

    def create_first(self, name: str, subject: str, *, connection: sa.Connection) -> tuple[KeyRecord, str] | None:
        """A key if the store never had one (revoked ones count), else None. For the first start."""
        if connection.execute(sa.select(sa.exists(sa.select(api_keys.c.id)))).scalar():
            return None
        return self.create(name, subject, connection=connection)

    def verify(self, secret: str) -> KeyVerdict:
        """Check a secret against the store: one indexed read."""
        match = _SECRET.fullmatch(secret)
        if match is None:
            return KeyVerdict(None, "malformed")
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == match[1])).mappings().first()
        digest = sha256(secret.encode()).digest()
        if row is None or not hmac.compare_digest(digest, row["secret_hash"]):
            return KeyVerdict(None, "unknown")
        record = _record(row)
        refusal = record.refusal(time.time())
        return KeyVerdict(None if refusal else record.principal, refusal, record)

    def touch(self, key_id: str, now: float) -> None:
        """Remember that the key was used, at most once in `LAST_USED_SECONDS`."""
        stale = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now - LAST_USED_SECONDS)
        with writing(self._engine) as connection:
            connection.execute(sa.update(api_keys).where(api_keys.c.id == key_id, stale).values(last_used_at=now))

    def revoke(self, key_id: str, *, connection: sa.Connection | None = None) -> KeyRecord | None:
        """Revoke a key for good; None if there is no such key. Revoking twice keeps the first time."""
        if connection is None:
            with writing(self._engine) as own:
                return self.revoke(key_id, connection=own)
        live = sa.and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        connection.execute(sa.update(api_keys).where(live).values(revoked_at=time.time()))
        row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        return None if row is None else _record(row)

    def limit(self, key_id: str, limits: KeyLimits, *, connection: sa.Connection | None = None) -> KeyRecord | None:
        """Give a key other limits, all of them at once; None if there is no such key."""
        if connection is None:
            with writing(self._engine) as own:
                return self.limit(key_id, limits, connection=own)
        target = api_keys.c.id == key_id
        connection.execute(sa.update(api_keys).where(target).values(limits=limits.stored() or None))
        row = connection.execute(sa.select(api_keys).where(target)).mappings().first()
        return None if row is None else _record(row)

    def get(self, key_id: str, *, connection: sa.Connection | None = None) -> KeyRecord | None:
        """One key, whatever its state."""
        if connection is None:
            with reading(self._engine) as own:
                return self.get(key_id, connection=own)
        row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        return None if row is None else _record(row)

    def list(self) -> list[KeyRecord]:
        """Every key ever made, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at)).mappings()
            return [_record(row) for row in rows]


def _record(row: sa.RowMapping) -> KeyRecord:
    values: dict[str, Any] = {key: value for key, value in row.items() if key != "secret_hash"}
    try:
        values["limits"] = KeyLimits.of(row["limits"])
    except (ValueError, TypeError) as error:
        # A key whose limits cannot be read would otherwise have none.
        raise StoreError(f"the limits of key {row['id']} cannot be read ({error})") from error
    return KeyRecord(**values)
