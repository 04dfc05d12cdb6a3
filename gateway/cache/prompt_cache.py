"""The answers that are kept: bounded in number, bytes and age, and made once when asked for several times at once.

Belongs to the event loop's thread. Every entry belongs to one subject; nobody else's requests can find it, since
the subject is part of its name.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from cachetools import TTLCache

from gateway.messages import jsonbytes
from gateway.messages.events import MESSAGE_DELTA, Event
from gateway.messages.replay import message_events

__all__ = ["FOLLOWERS", "CacheStats", "Hit", "Place", "PromptCache"]

FOLLOWERS = 64
"""Requests that wait for the same answer at once; further ones go on their own."""

WAIT_SECONDS = 30.0
"""How long a request waits for the same one before it: clients give up at 300 seconds without a byte."""

_OVERHEAD = 512
"""Bytes that an entry takes beside its message."""

_STOPS = frozenset({"end_turn", "stop_sequence", "max_tokens"})
_BLOCKS = frozenset({"text", "thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True)
class Hit:
    """A kept answer. `age`: seconds since it was kept.

    It is told under a fresh id, since clients take messages of one id for one message, and with the usage it
    had: the client's meters are about its context. For the gateway's own accounts a hit costs nothing.
    """

    encoded: bytes
    age: float

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-bulkhead-cache": "hit", "age": str(max(0, int(self.age)))}

    def message(self) -> dict[str, Any]:
        """The whole message."""
        message: dict[str, Any] = jsonbytes.decode_any(self.encoded)
        return {**message, "id": f"msg_{secrets.token_hex(12)}"}

    def events(self) -> Iterator[Event]:
        """The message as a stream."""
        message = self.message()
        edits = message.pop("context_management", None)
        for event in message_events(message):
            if event.name == MESSAGE_DELTA and edits is not None:
                yield Event(event.name, {**event.data, "context_management": edits})
            else:
                yield event


@dataclass(frozen=True, slots=True)
class CacheStats:
    """One subject's share, or the whole. `entries` and `bytes` are of now, the rest since the start; `joined`
    are hits that waited for another request's answer. `refused`: answers that were not kept."""

    entries: int
    bytes: int
    hits: int
    joined: int
    misses: int
    kept: int
    refused: int
    evicted: int
    bypassed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    subject: str
    encoded: bytes
    kept_at: float

    @property
    def size(self) -> int:
        return len(self.encoded) + _OVERHEAD


@dataclass(slots=True)
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    bypassed: Counter[str] = field(default_factory=Counter)


@dataclass(eq=False, slots=True)
class _Flight:
    """A request whose answer others wait for."""

    done: asyncio.Future[_Entry | None]
    followers: int = 0


class PromptCache:
    """Entries of all subjects."""

    def __init__(
        self,
        *,
        max_entries: int,
        ttl_seconds: float,
        max_bytes: int,
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.ttl_seconds = ttl_seconds
        self._wait = wait_seconds
        self._clock = clock
        self._entries: TTLCache[bytes, _Entry] = TTLCache(
            max_bytes, ttl_seconds, timer=clock, getsizeof=lambda entry: entry.size
        )
        self._flights: dict[bytes, _Flight] = {}
        self._tallies: dict[str, _Tally] = {}
        self._purges: Counter[str | None] = Counter()
        """By subject; under None those of everybody's answers."""

    async def seek(self, key: bytes, subject: str) -> Place:
        """The answer, if it is known or comes from the same request that runs already; else the task to make it.

        Close the place however that ends. A request that waited in vain goes on its own.
        """
        hit = self._find(key)
        if hit is not None:
            self._count(subject, "hits")
            return Place(self, key, subject, hit)
        flight = self._flights.get(key)
        if flight is not None and flight.followers < FOLLOWERS:
            flight.followers += 1
            try:
                await asyncio.wait({flight.done}, timeout=self._wait)
            finally:
                flight.followers -= 1
            entry = flight.done.result() if flight.done.done() else None
            if entry is not None:
                self._count(subject, "hits")
                self._count(subject, "joined")
                return Place(self, key, subject, Hit(entry.encoded, self._clock() - entry.kept_at))
        self._count(subject, "misses")
        if key in self._flights:
            return Place(self, key, subject)
        leading = self._flights[key] = _Flight(asyncio.get_running_loop().create_future())
        return Place(self, key, subject, leads=leading)

    def bypass(self, subject: str, reason: str) -> None:
        """Note a request that the cache was not asked for."""
        self._tally(subject).bypassed[reason] += 1

    def purge(self, subject: str | None = None) -> int:
        """Forget what is kept of one subject, or of all; how many answers it was. Answers that are being made
        now will not be kept either."""
        self._entries.expire()
        gone = [key for key, entry in self._entries.items() if subject is None or entry.subject == subject]
        for key in gone:
            del self._entries[key]
        self._purges[subject] += 1
        return len(gone)

    def stats(self, subject: str | None = None) -> CacheStats:
        """Of one subject, or of all."""
        self._entries.expire()
        entries = [entry for entry in self._entries.values() if subject is None or entry.subject == subject]
        some = self._tallies.values() if subject is None else [self._tallies.get(subject, _Tally())]
        counts, bypassed = Counter[str](), Counter[str]()
        for tally in some:
            counts += tally.counts
            bypassed += tally.bypassed
        return CacheStats(
            entries=len(entries),
            bytes=sum(entry.size for entry in entries),
            hits=counts["hits"],
            joined=counts["joined"],
            misses=counts["misses"],
            kept=counts["kept"],
            refused=counts["refused"],
            evicted=counts["evicted"],
            bypassed=dict(sorted(bypassed.items())),
        )

    def _find(self, key: bytes) -> Hit | None:
        entry = self._entries.get(key)
        return None if entry is None else Hit(entry.encoded, self._clock() - entry.kept_at)

    def _keep(self, place: Place, message: Mapping[str, Any]) -> bool:
        if place.purges != self._purges_of(place.subject) or not _is_whole(message):
            self._count(place.subject, "refused")
            return False
        entry = _Entry(place.subject, jsonbytes.encode(message), self._clock())
        if entry.size > self.max_bytes or self.max_entries < 1:
            self._count(place.subject, "refused")
            return False
        self._make_room(place.key, entry.size)
        self._entries[place.key] = entry
        self._count(place.subject, "kept")
        if place.leads is not None and not place.leads.done.done():
            place.leads.done.set_result(entry)
        return True

    def _make_room(self, key: bytes, size: int) -> None:
        """Let go of the answers unused for longest until one more fits."""
        self._entries.expire()
        self._entries.pop(key, None)
        while len(self._entries) >= self.max_entries or self._entries.currsize + size > self.max_bytes:
            _, gone = self._entries.popitem()
            self._count(gone.subject, "evicted")

    def _land(self, place: Place) -> None:
        flight = place.leads
        if flight is not None:
            if not flight.done.done():
                flight.done.set_result(None)
            if self._flights.get(place.key) is flight:
                del self._flights[place.key]

    def _purges_of(self, subject: str) -> tuple[int, int]:
        return self._purges[None], self._purges[subject]

    def _count(self, subject: str, name: str) -> None:
        self._tally(subject).counts[name] += 1

    def _tally(self, subject: str) -> _Tally:
        tally = self._tallies.get(subject)
        if tally is None:
            tally = self._tallies[subject] = _Tally()
        return tally


class Place:
    """What `PromptCache.seek` found: a hit, or the place where the answer may be kept."""

    __slots__ = ("_cache", "hit", "key", "leads", "purges", "subject")

    def __init__(
        self, cache: PromptCache, key: bytes, subject: str, hit: Hit | None = None, leads: _Flight | None = None
    ) -> None:
        self._cache = cache
        self.key = key
        self.subject = subject
        self.hit = hit
        self.leads = leads
        self.purges = cache._purges_of(subject)

    @property
    def headers(self) -> Mapping[str, str]:
        """For the client's answer."""
        return self.hit.headers if self.hit is not None else {"x-bulkhead-cache": "miss"}

    def keep(self, message: Mapping[str, Any]) -> bool:
        """Keep a finished message and hand it to the requests that wait for it. False when it is not one to be
        kept: broken off, a refusal, empty, with tool calls, too large, or purged meanwhile."""
        return self._cache._keep(self, message)

    def close(self) -> None:
        """The request has ended; who still waits for it goes on alone. Idempotent."""
        self._cache._land(self)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _is_whole(message: Mapping[str, Any]) -> bool:
    """Whether a message is a finished answer that ran nothing."""
    content = message.get("content")
    if message.get("type") != "message" or message.get("stop_reason") not in _STOPS:
        return False
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(block, Mapping) and block.get("type") in _BLOCKS for block in content)
