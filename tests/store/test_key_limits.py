"""Limits of a key: stored with it, changed while it is used, refused when they make no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.store.engine import StoreError
from gateway.store.keycache import STALE_SECONDS, KeyCache
from gateway.store.keylimits import LIMITS, UNLIMITED, KeyLimits
from gateway.store.keys import Keys

SOME = KeyLimits(requests_per_minute=60, usd_per_month=2.5, tokens_per_day=UNLIMITED, models=("claude-*", "gpt-?"))


@pytest.fixture
def keys(engine: sa.Engine) -> Keys:
    return Keys(engine)


def test_limits_come_back_as_they_were_stored(keys: Keys) -> None:
    record, secret = keys.create("laptop", "alice", limits=SOME)
    principal = keys.verify(secret).principal
    assert principal is not None and principal.limits == SOME == record.limits
    assert keys.get(record.id) == record == keys.list()[0]


def test_a_key_without_limits_stores_none(engine: sa.Engine, keys: Keys) -> None:
    record, _ = keys.create("laptop", "alice")
    assert record.limits == KeyLimits()
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT limits FROM api_keys").scalar() is None


def test_changed_limits_replace_the_old_ones(keys: Keys) -> None:
    record, _ = keys.create("laptop", "alice", limits=SOME)
    changed = keys.limit(record.id, KeyLimits(concurrent_requests=2))
    assert changed is not None and changed.limits == KeyLimits(concurrent_requests=2)
    cleared = keys.limit(record.id, KeyLimits())
    assert cleared is not None and cleared.limits == KeyLimits()
    assert keys.limit("nobody", SOME) is None
    assert keys.get("nobody") is None


async def test_a_running_gateway_knows_changed_limits_within_the_promised_time(keys: Keys) -> None:
    now = 100.0
    record, secret = keys.create("laptop", "alice")
    cache = KeyCache(keys, clock=lambda: now)
    assert (await cache.verify(secret)).principal == record.principal
    keys.limit(record.id, SOME)
    now += STALE_SECONDS
    verdict = await cache.verify(secret)
    assert verdict.principal is not None and verdict.principal.limits == SOME


@pytest.mark.parametrize("stored", ['{"rpm": 3}', '"all"', "[]", '{"usd_per_day": "much"}', '{"models": []}', "{"])
def test_a_key_whose_limits_cannot_be_read_is_not_let_in_without_any(
    engine: sa.Engine, keys: Keys, stored: str
) -> None:
    _, secret = keys.create("laptop", "alice", limits=SOME)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE api_keys SET limits = :stored"), {"stored": stored})
    with pytest.raises((StoreError, ValueError)):
        keys.verify(secret)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute must be between 1"),
        ({"requests_per_minute": 1.5}, "requests_per_minute must be a whole number"),
        ({"requests_per_minute": True}, "must be a number"),
        ({"tokens_per_day": -1}, "tokens_per_day must be between"),
        ({"usd_per_day": 0}, "usd_per_day must be between"),
        ({"usd_per_day": float("nan")}, "usd_per_day must be a number"),
        ({"usd_per_day": "5"}, "usd_per_day must be a number"),
        ({"models": ()}, "models must be 1-100 patterns"),
        ({"models": ("x",) * 101}, "models must be 1-100 patterns"),
        ({"models": ("",)}, "models: '' is no pattern"),
        ({"models": ("a\nb",)}, "is no pattern"),
        ({"models": (3,)}, "is no pattern"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        KeyLimits(**fields)
    assert said in str(caught.value)


def test_the_stored_form_is_json_without_infinity(keys: Keys) -> None:
    stored = SOME.stored()
    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    assert stored["tokens_per_day"] == "unlimited"
    assert KeyLimits.of(stored) == SOME


def test_what_a_key_does_not_say_comes_from_the_defaults() -> None:
    defaults = KeyLimits(requests_per_minute=1, tokens_per_day=5, tokens_per_month=9)
    assert SOME.over(defaults) == KeyLimits(
        requests_per_minute=60,
        usd_per_month=2.5,
        tokens_per_day=UNLIMITED,
        tokens_per_month=9,
        models=("claude-*", "gpt-?"),
    )


def test_limits_read_well() -> None:
    assert SOME.words() == (
        "60 requests per minute, unlimited tokens per day, 2.5 USD per month, models claude-*, gpt-?"
    )
    assert KeyLimits().words() == ""
    assert set(LIMITS) == set(KeyLimits.__slots__) - {"models"}
