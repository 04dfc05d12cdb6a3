"""Verified keys held in memory for a moment, so that a request pays no database read.

A revoked key stops working at most `STALE_SECONDS` later, an expired one at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.store.keys import LAST_USED_SECONDS, Keys, KeyVerdict

log = structlog.get_logger(__name__)

STALE_SECONDS = 2.0
CAPACITY = 4096
"""Keys held at once; past it the longest unused one is forgotten."""


class KeyCache:
    """`Keys.verify` for many requests. Holds digests, never secrets; refusals are not held."""

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._good: OrderedDict[bytes, tuple[float, KeyVerdict]] = OrderedDict()
        self._touched: dict[str, float] = {}

    async def verify(self, secret: str) -> KeyVerdict:
        """Whose secret it is, or why it is refused. Raises SQLAlchemy's errors when the store fails."""
        digest = sha256(secret.encode("utf-8", "surrogatepass")).digest()
        held = self._good.get(digest)
        if held is not None and self._clock() - held[0] < STALE_SECONDS:
            record = held[1].record
            if record is not None and record.refusal(time.time()) is None:
                self._good.move_to_end(digest)
                return held[1]
        asked = self._clock()
        verdict = await asyncio.to_thread(self._look_up, secret)
        self._good.pop(digest, None)
        if verdict.principal is not None:
            self._good[digest] = (asked, verdict)
            if len(self._good) > CAPACITY:
                self._good.popitem(last=False)
        return verdict

    def _look_up(self, secret: str) -> KeyVerdict:
        verdict = self._keys.verify(secret)
        if verdict.principal is not None:
            self._touch(verdict.principal.key_id)
        return verdict

    def _touch(self, key_id: str) -> None:
        now = time.time()
        if now - self._touched.get(key_id, 0.0) < LAST_USED_SECONDS:
            return
        self._touched[key_id] = now
        try:
            self._keys.touch(key_id, now)
        except SQLAlchemyError as error:
            log.warning("key_last_used_not_stored", key_id=key_id, error=str(error))
