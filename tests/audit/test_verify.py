"""Every way of tampering shows, in the database and in an export."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from audit_writing import conclude, intend

from gateway.audit.chain import GENESIS, Entry, Head, SealKey, StoredEvent, link
from gateway.audit.export import export
from gateway.audit.log import AuditLog
from gateway.audit.query import Filter, find
from gateway.audit.verify import Report, kinds, read_anchor, verify_file, verify_store
from gateway.audit.writer import read_head
from gateway.store.engine import reading, writing


@pytest.fixture
async def written(engine: sa.Engine, key_path: Path) -> AsyncIterator[sa.Engine]:
    """Ten events: five intents, each followed by its result."""
    log = AuditLog.open(engine, key_path)
    for number in range(5):
        await conclude(log, await intend(log, call=str(number)))
    await log.aclose()
    yield engine


def check(engine: sa.Engine, key_path: Path) -> Report:
    return verify_store(engine, SealKey.read(key_path))


def exported(engine: sa.Engine, path: Path) -> list[str]:
    with path.open("w") as file:
        export(engine, file)
    return path.read_text().splitlines()


async def test_a_log_as_written_is_whole(written: sa.Engine, key_path: Path) -> None:
    report = check(written, key_path)
    assert (report.ok, report.events, report.unanswered, report.problems) == (True, 10, [], [])
    assert report.head is not None
    assert report.head.seq == 10


@pytest.mark.parametrize(
    ("tampering", "problem", "at"),
    [
        ("UPDATE audit_events SET ts = '2020-01-01T00:00:00.000000Z' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET kind = 'tool.refused' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET session = 's-2' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET session = NULL WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET principal = 'mallory' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET intent_seq = 3 WHERE seq = 6", "altered", 6),
        ("UPDATE audit_events SET intent_seq = NULL WHERE seq = 6", "altered", 6),
        ("UPDATE audit_events SET body = '{}' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET body = body || ' ' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET body = X'00FF' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET ts = 5 WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET hash = prev_hash WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET prev_hash = hash WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET prev_hash = 'not hex' WHERE seq = 5", "altered", 5),
        ("UPDATE audit_events SET seq = 50 WHERE seq = 10", "reordered", 50),
        ("DELETE FROM audit_events WHERE seq = 5", "removed", 5),
        ("DELETE FROM audit_events WHERE seq BETWEEN 4 AND 7", "removed", 4),
        ("DELETE FROM audit_events WHERE seq = 1", "removed", 1),
        ("DELETE FROM audit_events WHERE seq = 10", "truncated", 10),
        ("DELETE FROM audit_events WHERE seq > 3", "truncated", 4),
        ("DELETE FROM audit_events", "truncated", 1),
        ("UPDATE audit_head SET seq = 9", "forged_head", 9),
        ("UPDATE audit_head SET hash = printf('%064d', 0)", "forged_head", 10),
        ("UPDATE audit_head SET mac = printf('%064d', 0)", "forged_head", 10),
        ("UPDATE audit_head SET mac = 7", "forged_head", 10),
        ("DELETE FROM audit_head", "forged_head", 0),
    ],
)
async def test_tampering_is_named_where_it_happened(
    written: sa.Engine, key_path: Path, tampering: str, problem: str, at: int
) -> None:
    with writing(written) as connection:
        connection.exec_driver_sql(tampering)
    report = check(written, key_path)
    assert not report.ok
    assert (at, problem) in {(found.seq, found.problem) for found in report.problems}


async def test_one_change_is_blamed_on_one_event(written: sa.Engine, key_path: Path) -> None:
    with writing(written) as connection:
        connection.exec_driver_sql("UPDATE audit_events SET principal = 'mallory' WHERE seq = 5")
    assert [problem.seq for problem in check(written, key_path).problems] == [5]


async def test_swapped_events_are_told_from_altered_ones(written: sa.Engine, key_path: Path) -> None:
    with writing(written) as connection:
        for old, new in ((5, 99), (7, 5), (99, 7)):
            connection.exec_driver_sql(f"UPDATE audit_events SET seq = {new} WHERE seq = {old}")
    found = {(problem.seq, problem.problem) for problem in check(written, key_path).problems}
    assert {(5, "reordered"), (7, "reordered")} <= found


def rewrite(engine: sa.Engine, change: Callable[[list[StoredEvent]], list[StoredEvent]]) -> Head:
    """What someone with the database and this code, but without the key, can do: a chain of their own."""
    events = change(find(engine, Filter(limit=100)))
    entries = [
        Entry(event.ts, event.kind, event.session, event.principal, event.intent, event.body) for event in events
    ]
    linked = link(entries, Head(0, GENESIS, ""))
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM audit_events")
        for event in linked:
            connection.execute(
                sa.text(
                    "INSERT INTO audit_events VALUES (:seq,:ts,:kind,:session,:principal,:intent,:body,:prev,:hash)"
                ),
                {
                    "seq": event.seq,
                    "ts": event.ts,
                    "kind": event.kind,
                    "session": event.session,
                    "principal": event.principal,
                    "intent": event.intent,
                    "body": event.body,
                    "prev": event.prev_hash,
                    "hash": event.hash,
                },
            )
    return Head(linked[-1].seq, linked[-1].hash, "0" * 64)


async def test_a_chain_written_anew_does_not_fit_the_sealed_head(written: sa.Engine, key_path: Path) -> None:
    rewrite(written, lambda events: events[:4] + events[6:] + events[:2])
    assert "relinked" in kinds(check(written, key_path).problems)


async def test_a_chain_and_head_written_anew_lack_the_seal(written: sa.Engine, key_path: Path) -> None:
    head = rewrite(written, lambda events: events[:4])
    with writing(written) as connection:
        connection.exec_driver_sql(f"UPDATE audit_head SET seq = {head.seq}, hash = '{head.hash}'")
    assert kinds(check(written, key_path).problems) == {"forged_head"}


async def test_events_added_behind_the_head_show(written: sa.Engine, key_path: Path) -> None:
    rewrite(written, lambda events: [*events, events[0]])
    assert "appended" in kinds(check(written, key_path).problems)


async def test_a_result_without_its_intent_is_an_orphan(engine: sa.Engine, key_path: Path, log: AuditLog) -> None:
    seq = await intend(log)
    await conclude(log, seq)
    await conclude(log, seq)
    report = check(engine, key_path)
    assert [(problem.seq, problem.problem) for problem in report.problems] == [(3, "orphan")]


async def test_an_intent_without_a_result_is_reported_but_no_break(
    engine: sa.Engine, key_path: Path, log: AuditLog
) -> None:
    await conclude(log, await intend(log))
    await intend(log)
    report = check(engine, key_path)
    assert (report.ok, report.unanswered) == (True, [3])


async def test_an_older_state_put_back_shows_against_an_anchor(
    written: sa.Engine, key_path: Path, tmp_path: Path
) -> None:
    key = SealKey.read(key_path)
    exported(written, tmp_path / "kept.jsonl")
    anchor = read_anchor(tmp_path / "kept.jsonl")
    assert verify_store(written, key, anchor=anchor).ok
    with writing(written) as connection:
        connection.exec_driver_sql("DELETE FROM audit_events WHERE seq > 4")
        last = connection.exec_driver_sql("SELECT hash FROM audit_events WHERE seq = 4").scalar_one()
        sealed_then = key.seal(4, last)
        connection.execute(
            sa.text("UPDATE audit_head SET seq = 4, hash = :hash, mac = :mac"),
            {"hash": last, "mac": sealed_then.mac},
        )
    assert verify_store(written, key).ok
    assert kinds(verify_store(written, key, anchor=anchor).problems) == {"unanchored"}


async def test_an_export_verifies_without_the_database(written: sa.Engine, key_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    assert len(exported(written, path)) == 11
    with reading(written) as connection:
        assert read_anchor(path) == read_head(connection)
    report = verify_file(path, SealKey.read(key_path))
    assert (report.ok, report.events, report.head_checked) == (True, 10, True)
    unsealed = verify_file(path, None)
    assert (unsealed.ok, unsealed.head_checked) == (True, False)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [line.replace('"alice"', '"mallory"') for line in lines], "altered"),
        (lambda lines: [lines[0].replace("{", '{"kind":"x",', 1), *lines[1:]], "altered"),
        (lambda lines: [lines[0].replace(":", ": ", 1), *lines[1:]], "altered"),
        (lambda lines: ["", *lines], "altered"),
        (lambda lines: [lines[0], "[1]", *lines[2:]], "altered"),
        (lambda lines: lines[:3] + lines[4:], "removed"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "reordered"),
        (lambda lines: [*lines[:3], lines[3], lines[3], *lines[4:]], "reordered"),
        (lambda lines: [*lines[:6], lines[-1]], "truncated"),
        (lambda lines: lines[:-1], "forged_head"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"seq":10', '"seq":9')], "forged_head"),
        (lambda lines: [*lines, lines[0]], "appended"),
    ],
)
async def test_tampering_with_an_export_shows(
    written: sa.Engine, key_path: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], problem: str
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("\n".join(change(exported(written, path))) + "\n")
    report = verify_file(path, SealKey.read(key_path))
    assert problem in kinds(report.problems)


async def test_a_head_sealed_with_another_key_is_forged(written: sa.Engine, tmp_path: Path) -> None:
    report = verify_store(written, SealKey.make(tmp_path / "other.key"))
    assert kinds(report.problems) == {"forged_head"}


async def test_a_damaged_log_can_still_be_exported(written: sa.Engine, key_path: Path, tmp_path: Path) -> None:
    with writing(written) as connection:
        connection.exec_driver_sql("UPDATE audit_events SET body = 'a' || char(10) || 'b' WHERE seq = 5")
    path = tmp_path / "audit.jsonl"
    assert len(exported(written, path)) == 11
    assert [problem.seq for problem in verify_file(path, SealKey.read(key_path)).problems][:1] == [5]
