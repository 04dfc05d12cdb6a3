"""When the log cannot be written nothing may happen; when it can again, nothing acknowledged is lost."""

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from audit_writing import conclude, eventually, intend

from gateway.audit.chain import SealKey
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import AuditLog
from gateway.audit.query import Filter, find
from gateway.audit.verify import verify_store
from gateway.audit.writer import open_chain
from gateway.store import engine as engine_module
from gateway.store.engine import close_store, open_store, writing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB. Needs root, as the tests of the sandbox do."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
    return filler


async def test_a_full_disk_refuses_intents_until_there_is_room(small_disk: Path) -> None:
    engine = open_store(f"sqlite:///{small_disk / 'bulkhead.db'}")
    log = AuditLog.open(engine, small_disk / "audit.key", retry_seconds=0.02)
    first = await intend(log)
    filler = fill(small_disk)

    acknowledged = [first]
    with pytest.raises(AuditUnavailable, match="disk that holds it is full"):
        while True:
            acknowledged.append(await intend(log, input="x" * 8000))
    with pytest.raises(AuditUnavailable):
        await intend(log)
    with pytest.raises(AuditUnavailable):
        await conclude(log, first)
    assert log.broken is not None

    filler.unlink()
    await eventually(lambda: log.broken is None)
    acknowledged.append(await intend(log))
    await log.aclose()

    events = find(engine, Filter(limit=1000))
    report = verify_store(engine, SealKey.read(small_disk / "audit.key"))
    close_store(engine)
    assert report.ok, report.problems
    assert set(acknowledged) <= {event.seq for event in events}
    recovered = next(event for event in events if event.kind == "audit.recovered")
    assert '"lost":0' in recovered.body
    assert '"waiting":1' in recovered.body
    result = next(event for event in events if event.kind == "tool.result")
    assert result.intent == first


async def test_a_lock_that_another_process_holds_is_named_and_outlived(
    url: str, key_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.02)
    engine = open_store(url)
    log = AuditLog.open(engine, key_path, retry_seconds=0.02)
    other = sqlite3.connect(tmp_path / "bulkhead.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditUnavailable, match="another process holds its database"):
        await intend(log)
    other.execute("ROLLBACK")
    other.close()
    await eventually(lambda: log.broken is None)
    assert await intend(log) == 2
    await log.aclose()
    close_store(engine)


async def test_a_database_that_became_read_only_is_named(engine: sa.Engine, log: AuditLog) -> None:
    def forbid(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    sa.event.listen(engine, "checkout", forbid)
    with pytest.raises(AuditUnavailable, match="its database is read-only"):
        await intend(log)
    sa.event.remove(engine, "checkout", forbid)
    engine.dispose()
    await eventually(lambda: log.broken is None)
    await intend(log)


async def test_ignored_failures_make_no_noise(
    engine: sa.Engine, log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE audit_events RENAME TO hidden")
    for _ in range(3):
        await log.record("gateway.stop", session=None, principal=None, body={})
    await eventually(lambda: log.broken is not None)
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO audit_events")
    await eventually(lambda: log.broken is None)
    assert [event.kind for event in find(engine, Filter())].count("gateway.stop") == 3
    assert "never retrieved" not in caplog.text


async def test_a_forged_head_stops_the_running_log(engine: sa.Engine, log: AuditLog) -> None:
    await intend(log)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE audit_head SET seq = 7")
    with pytest.raises(AuditUnavailable, match="missing or forged"):
        await intend(log)


async def test_a_cut_off_end_stops_the_running_log(engine: sa.Engine, log: AuditLog) -> None:
    await intend(log)
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM audit_events")
    with pytest.raises(AuditUnavailable, match="tampered with"):
        await intend(log)


def test_a_log_whose_key_is_gone_is_not_continued(engine: sa.Engine, key_path: Path) -> None:
    open_chain(engine, key_path)
    key_path.unlink()
    with pytest.raises(AuditUnavailable, match="cannot be read"):
        AuditLog.open(engine, key_path)
    assert not key_path.exists()


def test_an_emptied_database_is_not_mistaken_for_a_first_start(engine: sa.Engine, key_path: Path) -> None:
    open_chain(engine, key_path)
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM audit_head")
    with pytest.raises(AuditUnavailable, match="emptied or exchanged"):
        open_chain(engine, key_path)
