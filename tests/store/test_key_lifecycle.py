"""A key from its making to its end."""

import re
import time
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.store.engine import reading, writing
from gateway.store.keycache import STALE_SECONDS, KeyCache
from gateway.store.keys import Keys, Principal


@pytest.fixture
def keys(engine: sa.Engine) -> Keys:
    return Keys(engine)


def test_a_secret_names_its_principal(keys: Keys) -> None:
    record, secret = keys.create("laptop", "alice", workspace="/srv/code", mode="copy")
    assert re.fullmatch(rf"bh_{record.id}_[A-Za-z0-9_-]{{43}}", secret)
    verdict = keys.verify(secret)
    assert verdict.principal == Principal("alice", record.id, "laptop", "/srv/code", "copy")
    assert verdict.refusal is None


def test_the_secret_itself_is_stored_nowhere(engine: sa.Engine, keys: Keys) -> None:
    _, secret = keys.create("laptop", "alice")
    with reading(engine) as connection:
        stored = repr(connection.exec_driver_sql("SELECT * FROM api_keys").all())
    assert secret[-43:] not in stored
    assert secret[-43:] not in repr(keys.list())


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda secret: "", "malformed"),
        (lambda secret: "sk-ant-api03-x", "malformed"),
        (lambda secret: secret + "A", "malformed"),
        (lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"), "unknown"),
        (lambda secret: "bh_" + "0" * 12 + secret[15:], "unknown"),
        (lambda secret: secret[:-1] + "\udcff", "malformed"),
    ],
)
def test_a_wrong_secret_is_refused(keys: Keys, change: Any, refusal: str) -> None:
    _, secret = keys.create("laptop", "alice")
    verdict = keys.verify(change(secret))
    assert (verdict.principal, verdict.refusal, verdict.record) == (None, refusal, None)


def test_a_revoked_key_is_told_from_an_unknown_one(keys: Keys) -> None:
    record, secret = keys.create("laptop", "alice")
    revoked = keys.revoke(record.id)
    assert revoked is not None
    verdict = keys.verify(secret)
    assert (verdict.principal, verdict.refusal, verdict.record) == (None, "revoked", revoked)


def test_revoking_twice_keeps_the_first_time_and_an_unknown_id_is_none(keys: Keys) -> None:
    record, _ = keys.create("laptop", "alice")
    assert keys.revoke(record.id) == keys.revoke(record.id)
    assert keys.revoke("nobody") is None


def test_an_expired_key_is_refused(keys: Keys) -> None:
    _, secret = keys.create("laptop", "alice", expires=time.time() - 1)
    assert keys.verify(secret).refusal == "expired"


@pytest.mark.parametrize("label", ["", "two words", "-dash", "x" * 129, "new\nline", "\u00e9"])
def test_labels_that_would_confuse_lists_are_refused(keys: Keys, label: str) -> None:
    with pytest.raises(ValueError, match="name"):
        keys.create(label, "alice")
    with pytest.raises(ValueError, match="subject"):
        keys.create("laptop", label)


def test_the_first_key_is_made_once(engine: sa.Engine, keys: Keys) -> None:
    with writing(engine) as connection:
        made = keys.create_first("first", "admin", connection=connection)
    assert made is not None
    assert keys.verify(made[1]).principal is not None
    keys.revoke(made[0].id)
    with writing(engine) as connection:
        assert keys.create_first("first", "admin", connection=connection) is None


def test_a_key_made_in_a_transaction_that_fails_does_not_exist(engine: sa.Engine, keys: Keys) -> None:
    with pytest.raises(RuntimeError), writing(engine) as connection:
        keys.create("laptop", "alice", connection=connection)
        raise RuntimeError
    assert keys.list() == []


class CountingKeys(Keys):
    reads = 0

    def verify(self, secret: str) -> Any:
        self.reads += 1
        return super().verify(secret)


async def test_requests_in_a_row_pay_one_database_read(engine: sa.Engine) -> None:
    keys = CountingKeys(engine)
    record, secret = keys.create("laptop", "alice")
    cache = KeyCache(keys)
    verdicts = [await cache.verify(secret) for _ in range(5)]
    assert [verdict.principal for verdict in verdicts] == [record.principal] * 5
    assert keys.reads == 1


async def test_a_revoked_key_stops_working_within_the_promised_time(engine: sa.Engine) -> None:
    now = 100.0
    keys = Keys(engine)
    record, secret = keys.create("laptop", "alice")
    cache = KeyCache(keys, clock=lambda: now)
    assert (await cache.verify(secret)).principal is not None
    keys.revoke(record.id)
    now += STALE_SECONDS
    assert (await cache.verify(secret)).refusal == "revoked"


async def test_a_key_that_expires_while_cached_stops_at_once(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(engine)
    ends = time.time() + 3600
    _, secret = keys.create("laptop", "alice", expires=ends)
    cache = KeyCache(keys, clock=lambda: 100.0)
    assert (await cache.verify(secret)).principal is not None
    monkeypatch.setattr(time, "time", lambda: ends)
    assert (await cache.verify(secret)).refusal == "expired"


async def test_use_is_remembered(engine: sa.Engine) -> None:
    keys = Keys(engine)
    _, secret = keys.create("laptop", "alice")
    assert keys.list()[0].last_used_at is None
    await KeyCache(keys).verify(secret)
    assert keys.list()[0].last_used_at is not None


async def test_a_refused_secret_is_asked_for_again(engine: sa.Engine) -> None:
    keys = CountingKeys(engine)
    keys.create("laptop", "alice")
    cache = KeyCache(keys)
    for _ in range(2):
        assert (await cache.verify("bh_" + "0" * 12 + "_" + "A" * 43)).refusal == "unknown"
    assert keys.reads == 2
