"""Bringing a database to this version's schema with Alembic, from scripts inside the package."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection, revision: str | None = None) -> None:
    """Apply the missing migrations, up to `revision` or all, in the caller's transaction: all of them or none.

    A database that is there is left alone; Alembic, a tenth of a gateway's memory, is not even imported then.
    """
    wanted = revision or newest()
    if revision_of(connection) == wanted:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)


def newest() -> str:
    """The newest revision this version knows. Script files are named by their revision, in order."""
    return max(script.name.partition("_")[0] for script in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def revision_of(connection: sa.Connection) -> str | None:
    """The revision a database is at; None before the first."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)
