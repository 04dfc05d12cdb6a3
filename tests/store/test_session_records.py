"""What stays of a session when its sandbox is gone."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from gateway.store.keys import Keys
from gateway.store.sessions import SessionRecord, SessionRecords

RECORD = SessionRecord(
    id="s-1",
    subject="alice",
    workspace={"mode": "bind", "source": "/srv/code", "mount": "/srv/code"},
    driver="docker",
    opened_at=100.0,
    last_used_at=100.0,
    client_session="c-1",
    container="abc",
    profile_digest="sha256:1",
)


@pytest.fixture
def records(engine: sa.Engine) -> SessionRecords:
    return SessionRecords(engine)


def test_a_session_comes_back_as_it_was_stored(records: SessionRecords) -> None:
    records.insert(RECORD)
    assert records.get("s-1") == RECORD
    assert records.get("s-2") is None


def test_a_session_belongs_to_a_key_that_exists(engine: sa.Engine, records: SessionRecords) -> None:
    key, _ = Keys(engine).create("laptop", "alice")
    records.insert(replace(RECORD, key_id=key.id))
    with pytest.raises(IntegrityError):
        records.insert(replace(RECORD, id="s-2", key_id="nobody"))


def test_use_moves_an_open_session_only(records: SessionRecords) -> None:
    records.insert(RECORD)
    records.touch("s-1", 150.0)
    records.close("s-1", 200.0, "idle")
    records.touch("s-1", 300.0)
    assert records.get("s-1") == replace(RECORD, last_used_at=150.0, closed_at=200.0, close_reason="idle")


def test_the_first_end_stays(records: SessionRecords) -> None:
    records.insert(RECORD)
    assert records.close("s-1", 200.0, "idle")
    assert not records.close("s-1", 300.0, "broken")
    assert not records.close("s-2", 300.0, "broken")
    found = records.get("s-1")
    assert found is not None
    assert (found.closed_at, found.close_reason) == (200.0, "idle")


def test_sessions_a_dead_gateway_left_open_are_closed_together(records: SessionRecords) -> None:
    records.insert(RECORD)
    records.insert(replace(RECORD, id="s-2"))
    records.close("s-1", 200.0, "idle")
    assert [record.id for record in records.close_all_open(300.0, "gateway died")] == ["s-2"]
    assert records.list(open_only=True) == []


def test_the_list_is_newest_first_and_can_be_narrowed(records: SessionRecords) -> None:
    for number, subject in ((1, "alice"), (2, "bob"), (3, "alice")):
        records.insert(replace(RECORD, id=f"s-{number}", subject=subject, opened_at=float(number)))
    records.close("s-3", 9.0, "idle")
    assert [record.id for record in records.list()] == ["s-3", "s-2", "s-1"]
    assert [record.id for record in records.list(limit=1)] == ["s-3"]
    assert [record.id for record in records.list(subject="alice")] == ["s-3", "s-1"]
    assert [record.id for record in records.list(open_only=True)] == ["s-2", "s-1"]
