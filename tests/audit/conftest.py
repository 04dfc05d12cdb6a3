"""A store with an audit log."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.audit.log import AuditLog
from gateway.store.engine import close_store, open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bulkhead.db'}"


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "audit.key"


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_store(url)
    yield engine
    close_store(engine)


@pytest.fixture
async def log(engine: sa.Engine, key_path: Path) -> AsyncIterator[AuditLog]:
    log = AuditLog.open(engine, key_path, retry_seconds=0.02)
    yield log
    await log.aclose()
