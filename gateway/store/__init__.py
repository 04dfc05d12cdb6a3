"""Durable state of the gateway: keys, session records, usage and the tables under the audit log.

Imports nothing of the gateway. Must not know what an event means, who asks, or that HTTP exists.
All calls block; async callers go through `asyncio.to_thread` (`KeyCache` does so itself).
"""

from gateway.store.engine import StoreError, close_store, open_existing, open_store, reading, writing
from gateway.store.keycache import KeyCache
from gateway.store.keylimits import KeyLimits
from gateway.store.keys import KeyRecord, Keys, KeyVerdict, Principal, Refusal
from gateway.store.sessions import SessionRecord, SessionRecords
from gateway.store.usage import UsageRecords, UsageRow

__all__ = [
    "KeyCache",
    "KeyLimits",
    "KeyRecord",
    "KeyVerdict",
    "Keys",
    "Principal",
    "Refusal",
    "SessionRecord",
    "SessionRecords",
    "StoreError",
    "UsageRecords",
    "UsageRow",
    "close_store",
    "open_existing",
    "open_store",
    "reading",
    "writing",
]
