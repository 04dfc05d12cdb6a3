"""Appending to the chain in the store: one transaction per batch, from whichever process.

The head is read under the write lock in every transaction, so several writers (gateway, CLI) share one chain.
A head that its seal does not hold, or that is not the last event, stops every writer: fail closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.chain import GENESIS, Entry, Head, SealKey, StoredEvent, link
from gateway.audit.errors import AuditUnavailable, unavailable
from gateway.store.engine import reading, writing
from gateway.store.tables import audit_events, audit_head

# Built once: building them took a third of the time that a single event needs to become durable.
_READ_HEAD = sa.select(audit_head.c.seq, audit_head.c.hash, audit_head.c.mac)
_LAST_EVENT = sa.select(audit_events.c.seq, audit_events.c.hash).order_by(audit_events.c.seq.desc()).limit(1)
_FIELDS = {column.name: "intent" if column.name == "intent_seq" else column.name for column in audit_events.columns}
"""The columns, and what a stored event calls them."""
_MOVE_HEAD = sa.update(audit_head)


def open_chain(engine: sa.Engine, key_path: Path) -> SealKey:
    """The key of this store's chain; both are made at the first start. Raises `AuditUnavailable`.

    A chain without its key, or a key without its chain, is never replaced by a fresh one.
    """
    with _translated(), writing(engine) as connection:
        if read_head(connection) is not None:
            key = SealKey.read(key_path)
            _checked_head(connection, key)
            return key
        if connection.execute(sa.select(sa.exists(sa.select(audit_events.c.seq)))).scalar():
            raise AuditUnavailable("the audit log has lost its head; run `bulkhead audit verify`")
        try:
            key = SealKey.make(key_path)
        except FileExistsError as error:
            raise AuditUnavailable(
                f"{key_path} exists but the database holds no audit log: it was emptied or exchanged; "
                "restore it, or move the key file away to begin a new log"
            ) from error
        connection.execute(sa.insert(audit_head).values(id=1, **_columns(key.seal(0, GENESIS))))
        return key


def append(connection: sa.Connection, key: SealKey, entries: Sequence[Entry]) -> list[int]:
    """Add entries in the caller's write transaction; their seqs. Durable when that transaction is committed.

    Raises `AuditUnavailable` or SQLAlchemy's errors; the caller then rolls back.
    """
    if not entries:
        return []
    events = link(entries, _checked_head(connection, key))
    statement, order = _add_events(connection.dialect)
    connection.exec_driver_sql(statement, [order(event) for event in events])
    last = events[-1]
    connection.execute(_MOVE_HEAD, _columns(key.seal(last.seq, last.hash)))
    return [event.seq for event in events]


@lru_cache(maxsize=4)
def _add_events(dialect: sa.Dialect) -> tuple[str, Callable[[StoredEvent], tuple[Any, ...] | dict[str, Any]]]:
    """The insert as the driver knows it, and an event as its parameters. The library's own way to many rows costs
    more for each than hashing it does."""
    compiled = sa.insert(audit_events).compile(dialect=dialect, column_keys=list(_FIELDS))
    names = getattr(compiled, "positiontup", None)
    if names is None:
        return str(compiled), lambda event: {name: getattr(event, _FIELDS[name]) for name in _FIELDS}
    fields = attrgetter(*(_FIELDS[name] for name in names))
    return str(compiled), lambda event: tuple(fields(event))


def commit(engine: sa.Engine, key: SealKey, entries: Sequence[Entry]) -> list[int]:
    """Add entries in a transaction of their own; durable when this returns. Raises `AuditUnavailable`."""
    with _translated(), writing(engine) as connection:
        return append(connection, key, entries)


def check_end(engine: sa.Engine, key: SealKey) -> Head:
    """The head, if its seal and the last event hold. Raises `AuditUnavailable`."""
    with _translated(), reading(engine) as connection:
        return _checked_head(connection, key)


def read_head(connection: sa.Connection) -> Head | None:
    """The stored head, unverified."""
    row = connection.execute(_READ_HEAD).first()
    return None if row is None else Head(*row)


def _checked_head(connection: sa.Connection, key: SealKey) -> Head:
    head = read_head(connection)
    if head is None or not key.holds(head):
        raise AuditUnavailable("the head of the audit log is missing or forged; run `bulkhead audit verify`")
    last = connection.execute(_LAST_EVENT).first()
    if (head.seq, head.hash) != (tuple(last) if last else (0, GENESIS)):
        raise AuditUnavailable("the end of the audit log was tampered with; run `bulkhead audit verify`")
    return head


def _columns(head: Head) -> dict[str, str | int]:
    return {"seq": head.seq, "hash": head.hash, "mac": head.mac}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise unavailable(error) from error
