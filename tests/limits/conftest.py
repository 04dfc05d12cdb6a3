"""A store, a clock that stands still, and keys with limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from standing_clock import Clock

from gateway.limits.admission import Admission
from gateway.limits.ledger import UsageLedger
from gateway.limits.prices import Prices
from gateway.store.engine import close_store, open_store
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import Principal
from gateway.store.usage import UsageRecords


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'bulkhead.db'}")
    yield engine
    close_store(engine)


@pytest.fixture
def records(engine: sa.Engine) -> UsageRecords:
    return UsageRecords(engine)


@pytest.fixture
def ledger(records: UsageRecords, clock: Clock) -> UsageLedger:
    return UsageLedger(records, clock=clock)


@pytest.fixture
def admission(ledger: UsageLedger, clock: Clock) -> Admission:
    return Admission(KeyLimits(), Prices.load(), ledger, clock=clock)


@pytest.fixture
def holder() -> Callable[..., Principal]:
    """A principal whose key has these limits."""

    def made(key_id: str = "k1", subject: str = "alice", **limits: Any) -> Principal:
        return Principal(subject, key_id, f"{key_id}-name", limits=KeyLimits(**limits))

    return made
