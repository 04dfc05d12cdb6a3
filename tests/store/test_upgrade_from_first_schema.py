"""A store of the first version is migrated at the next start, with everything in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa

from gateway.store import migrate
from gateway.store.engine import close_store, connect, open_existing, open_store, writing
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import Keys
from gateway.store.usage import UsageRecords


def first_schema(url: str) -> None:
    """A store as the first version left it, with a key and a session of it."""
    engine = connect(url)
    with writing(engine) as connection:
        migrate.upgrade(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO api_keys (id, name, subject, secret_hash, created_at) VALUES ('k1', 'n', 'alice', x'00', 1.0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO sessions (id, subject, key_id, workspace, driver, opened_at, last_used_at)"
            " VALUES ('s1', 'alice', 'k1', '{}', 'docker', 1.0, 1.0)"
        )
    close_store(engine)


def columns(path: Path, table: str) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    finally:
        connection.close()


def test_keys_of_the_first_version_have_no_limits_and_no_usage(url: str, tmp_path: Path) -> None:
    first_schema(url)
    assert "limits" not in columns(tmp_path / "bulkhead.db", "api_keys")
    engine = open_store(url)
    try:
        [key] = Keys(engine).list()
        assert (key.id, key.subject, key.limits) == ("k1", "alice", KeyLimits())
        changed = Keys(engine).limit("k1", KeyLimits(requests_per_minute=3))
        assert changed is not None and changed.limits.requests_per_minute == 3
        assert UsageRecords(engine).spent("0000-01-01") == []
        with engine.begin() as connection:
            assert connection.execute(sa.text("SELECT key_id FROM sessions")).scalar() == "k1"
    finally:
        close_store(engine)


def test_a_migrated_store_can_be_read_by_the_commands(url: str) -> None:
    first_schema(url)
    close_store(open_store(url))
    engine = open_existing(url)
    assert [key.id for key in Keys(engine).list()] == ["k1"]
    close_store(engine)
