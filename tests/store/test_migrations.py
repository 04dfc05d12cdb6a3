"""The database is made and migrated at every start, by however many processes at once."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.store.engine import StoreError, close_store, open_existing, open_store, reading
from gateway.store.migrate import SCRIPTS, newest
from gateway.store.tables import metadata


def test_the_migrations_give_exactly_the_declared_tables(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_opening_again_changes_nothing(url: str, engine: sa.Engine) -> None:
    def schema() -> list[tuple[str, str]]:
        with reading(engine) as connection:
            return [tuple(row) for row in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master")]

    before = schema()
    close_store(open_store(url))
    assert schema() == before


def test_several_processes_may_open_a_new_store_at_once(url: str) -> None:
    program = "import sys; from gateway.store.engine import *; close_store(open_store(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    engine = open_existing(url)
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(newest(),)]
    close_store(engine)


def test_an_acknowledged_commit_survives_a_power_cut(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_database_can_be_read_by_its_owner_only(url: str, engine: sa.Engine, tmp_path: Path) -> None:
    assert (tmp_path / "bulkhead.db").stat().st_mode & 0o077 == 0


def test_reading_neither_makes_nor_migrates_a_database(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        open_existing(url)
    assert os.listdir(tmp_path) == []
    sqlite3.connect(tmp_path / "bulkhead.db").close()
    (tmp_path / "bulkhead.db").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be read"):
        open_existing(url)


def test_a_file_that_is_no_database_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "bulkhead.db").write_bytes(b"certainly not a database" * 50)
    with pytest.raises(StoreError, match=r"bulkhead\.db cannot be opened: file is not a database"):
        open_store(url)


def test_scripts_are_named_by_their_revisions_in_order() -> None:
    """`newest` goes by the names, so as not to load Alembic."""
    scripts = ScriptDirectory(str(SCRIPTS))
    assert scripts.get_heads() == [newest()]
    for script in scripts.walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")


def test_a_current_database_is_opened_without_alembic(url: str) -> None:
    close_store(open_store(url))
    program = (
        "import sys; from gateway.store.engine import *; "
        f"close_store(open_store({url!r})); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
