"""Writing: an intent that returned is on disk, whatever happens next."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from audit_writing import conclude, intend

from gateway.audit.chain import Announcement, SealKey, make_entry
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import AuditLog
from gateway.audit.query import Filter, find, related
from gateway.audit.verify import verify_store
from gateway.audit.writer import commit, open_chain
from gateway.store.engine import close_store, open_existing, open_store


async def test_an_intent_that_returned_can_be_read_by_another_process(url: str, log: AuditLog) -> None:
    seq = await intend(log, input={"command": "ls"})
    other = open_existing(url)
    event = find(other, Filter())[0]
    close_store(other)
    assert (event.seq, event.kind, event.session, event.principal) == (seq, "tool.intent", "s-1", "alice")
    assert event.body == '{"input":{"command":"ls"},"tool":"Bash"}'


async def test_a_result_names_its_intent(engine: sa.Engine, log: AuditLog) -> None:
    first = await intend(log)
    second = await intend(log)
    result = await conclude(log, first)
    assert [event.seq for event in related(engine, first)] == [first, result]
    assert [event.seq for event in related(engine, result)] == [first, result]
    assert [event.seq for event in related(engine, second)] == [second]
    assert related(engine, 99) == []


async def announce(log: AuditLog, **body: object) -> Announcement:
    return await log.announce("model.call", session=None, principal="alice", body=body)


async def test_a_result_names_what_was_announced_before_anything_is_on_disk(
    engine: sa.Engine, key_path: Path, log: AuditLog
) -> None:
    announced = await announce(log, model="m")
    assert announced.seq is None
    result = await log.record("model.result", session=None, principal="alice", body={}, intent=announced)
    assert (await result, announced.seq) == (2, 1)
    assert [event.intent for event in related(engine, 1)] == [None, 1]
    assert verify_store(engine, SealKey.read(key_path)).unanswered == []


async def test_what_was_announced_is_on_disk_before_a_later_intent(url: str, log: AuditLog) -> None:
    announced = await announce(log)
    assert await intend(log) == 2
    other = open_existing(url)
    kinds = [event.kind for event in find(other, Filter())]
    close_store(other)
    assert (sorted(kinds), announced.seq) == (["model.call", "tool.intent"], 1)


async def test_nothing_is_announced_to_a_log_that_is_broken(url: str, log: AuditLog) -> None:
    damage = sqlite3.connect(url.removeprefix("sqlite:///"))
    damage.execute("UPDATE audit_head SET mac = 'forged'")
    damage.commit()
    damage.close()
    with pytest.raises(AuditUnavailable):
        await intend(log)
    with pytest.raises(AuditUnavailable):
        await announce(log)


async def test_hundreds_of_callers_share_one_contiguous_chain(engine: sa.Engine, key_path: Path, log: AuditLog) -> None:
    async def call(number: int) -> tuple[int, int]:
        seq = await intend(log, call=str(number))
        return seq, await conclude(log, seq)

    numbers = await asyncio.gather(*(call(number) for number in range(500)))
    assert sorted(seq for pair in numbers for seq in pair) == list(range(1, 1001))
    report = verify_store(engine, SealKey.read(key_path))
    assert (report.ok, report.events, report.unanswered) == (True, 1000, [])


async def test_callers_who_wait_together_share_commits(engine: sa.Engine, log: AuditLog) -> None:
    commits = 0

    def count(_connection: sa.Connection) -> None:
        nonlocal commits
        commits += 1

    sa.event.listen(engine, "commit", count)
    await asyncio.gather(*(intend(log) for _ in range(500)))
    assert commits < 50


async def test_a_record_returns_before_the_disk_and_flush_waits_for_it(engine: sa.Engine, log: AuditLog) -> None:
    for _ in range(20):
        await log.record("gateway.stop", session=None, principal=None, body={"reason": "test"})
    await log.flush()
    assert len(find(engine, Filter())) == 20


async def test_closing_writes_what_is_enqueued_and_refuses_more(engine: sa.Engine, key_path: Path) -> None:
    log = AuditLog.open(engine, key_path)
    for _ in range(20):
        await log.record("gateway.stop", session=None, principal=None, body={})
    await log.aclose()
    await log.aclose()
    assert len(find(engine, Filter())) == 20
    with pytest.raises(AuditUnavailable, match="closed"):
        await intend(log)


async def test_callers_wait_when_too_much_is_on_its_way(
    url: str, key_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.log.CAPACITY", 4)
    engine = open_store(url)
    log = AuditLog.open(engine, key_path)
    other = sqlite3.connect(tmp_path / "bulkhead.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(4):
        await log.record("gateway.stop", session=None, principal=None, body={})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.record("gateway.stop", session=None, principal=None, body={}), 0.05)
    other.execute("ROLLBACK")
    other.close()
    await (await log.record("gateway.stop", session=None, principal=None, body={}))
    await log.aclose()
    assert len(find(engine, Filter())) == 5
    close_store(engine)


async def test_a_cancelled_caller_does_not_stop_the_writer(engine: sa.Engine, log: AuditLog) -> None:
    task = asyncio.create_task(intend(log))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await intend(log) in (1, 2)


async def test_two_writers_share_one_chain(engine: sa.Engine, url: str, key_path: Path, log: AuditLog) -> None:
    other = open_store(url)
    key = open_chain(other, key_path)
    entry = make_entry("key.created", session=None, principal="bob", body="{}")
    for _ in range(10):
        await intend(log)
        commit(other, key, [entry])
    close_store(other)
    report = verify_store(engine, key)
    assert (report.ok, report.events) == (True, 20)


async def test_a_gateway_that_starts_again_goes_on_where_it_ended(engine: sa.Engine, key_path: Path) -> None:
    for expected in (1, 2, 3):
        log = AuditLog.open(engine, key_path)
        assert await intend(log) == expected
        await log.aclose()
    assert key_path.stat().st_mode & 0o777 == 0o600


async def test_kinds_are_used_as_the_catalogue_says(log: AuditLog) -> None:
    with pytest.raises(KeyError):
        await log.intent("tool.invented", session=None, principal=None, body={})
    with pytest.raises(ValueError, match="not an intent"):
        await log.intent("tool.result", session=None, principal=None, body={})
    with pytest.raises(ValueError, match="is a result"):
        await log.record("tool.result", session=None, principal=None, body={})
    with pytest.raises(ValueError, match="is a note"):
        await log.record("gateway.stop", session=None, principal=None, body={}, intent=1)


async def test_a_later_change_of_the_body_does_not_reach_the_log(engine: sa.Engine, log: AuditLog) -> None:
    body = {"reason": "before"}
    future = await log.record("gateway.stop", session=None, principal=None, body=body)
    body["reason"] = "after"
    await future
    assert find(engine, Filter())[0].body == '{"reason":"before"}'


WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.audit.log import AuditLog
from gateway.store.engine import open_store

async def write(log):
    while True:
        seq = await log.intent("tool.intent", session="s", principal="p", body={"tool": "Bash"})
        sys.stdout.write(f"{seq}\\n")
        sys.stdout.flush()

async def main():
    log = AuditLog.open(open_store(sys.argv[1]), Path(sys.argv[2]))
    await asyncio.gather(*(write(log) for _ in range(8)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(url: str, key_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(key_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(300)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
    engine = open_store(url)
    report = verify_store(engine, SealKey.read(key_path))
    stored = {event.seq for event in find(engine, Filter(limit=100_000))}
    close_store(engine)
    assert report.ok
    assert set(acknowledged) <= stored
