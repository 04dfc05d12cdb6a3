"""Opening the database: connection rules, the two kinds of transaction, migration at start.

SQLite rules: WAL, synchronous=FULL (an acknowledged commit survives a power cut), foreign keys on, and a
bounded wait for another process's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gateway.store.migrate import newest, upgrade

BUSY_SECONDS = 5.0
"""How long a statement waits for another process's write before it fails."""

_WRITE = "bulkhead_write"


class StoreError(Exception):
    """The database cannot be used; the message says what to do."""


def open_store(url: str) -> sa.Engine:
    """The database at `url`, made if missing and migrated to this version's schema.

    Safe when several processes start at once. Raises `StoreError`.
    """
    try:
        engine = connect(url)
        with _alone(engine):
            with engine.connect() as connection:
                if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                    connection.exec_driver_sql("COMMIT")
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    connection.exec_driver_sql("BEGIN")
            with writing(engine) as connection:
                upgrade(connection)
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise StoreError(f"the database {url} cannot be opened: {reason}") from error
    return engine


def open_existing(url: str) -> sa.Engine:
    """The database at `url` for reading only: neither made nor migrated. Raises `StoreError`."""
    path = Path(sa.make_url(url).database or "")
    if not path.is_file():
        raise StoreError(f"there is no database at {path}; the gateway makes it at its first start")
    engine = connect(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true")
    try:
        with reading(engine) as connection:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except SQLAlchemyError as error:
        raise StoreError(f"the database {path} cannot be read: {getattr(error, 'orig', error)}") from error
    if revision != newest():
        raise StoreError(
            f"the database {path} has schema {revision}, this version needs {newest()}; "
            "start the gateway once to migrate it"
        )
    return engine


def connect(url: str) -> sa.Engine:
    """An engine that follows the connection rules; touches nothing yet."""
    engine = sa.create_engine(url, pool_size=8, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def close_store(engine: sa.Engine) -> None:
    """Release every connection."""
    engine.dispose()


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that sees one consistent state and never waits for a writer."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that takes the write lock at once, so that what it reads cannot change under it."""
    with engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
        yield connection


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _on_begin, not by the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def _alone(engine: sa.Engine) -> Iterator[None]:
    """One process at a time opens and migrates a database file, which only its owner can read."""
    database = engine.url.database
    if not database or database == ":memory:":
        yield
        return
    descriptor = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        yield
    finally:
        os.close(descriptor)
