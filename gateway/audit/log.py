"""The audit log as the gateway uses it: asyncio in front, one writer thread with group commit behind.

While one commit reaches the disk, the next batch gathers; a caller pays one commit shared with everyone else
who waits. After a failed write the log is broken: intents are refused at once until a write succeeds again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import sqlalchemy as sa
import structlog

from gateway.audit.body import encode_body
from gateway.audit.chain import Announcement, Entry, SealKey, make_entry, utc_now
from gateway.audit.errors import AuditUnavailable
from gateway.audit.events import CATALOGUE
from gateway.audit.writer import commit, open_chain

log = structlog.get_logger(__name__)

CAPACITY = 4096
"""Events on their way to the disk; past it callers wait."""

MAX_BATCH = 1024
"""Events after which a transaction takes no more."""

LINGER_SECONDS = 0.05
"""How long what nobody waits for is gathered before it goes to the writer: waking a thread and a commit for each
event would cost more than the rest of a forwarded request."""

MAX_WAITING = 65536
"""Results and notes kept while the log is broken; past it they are counted as lost."""

RETRY_SECONDS = 1.0
"""How often a broken log tries to write again."""


@dataclass(slots=True)
class _Item:
    """Something for the writer. Without an entry it is a mark: done when all before it is written. Without a
    future nobody wants to know how it went."""

    entry: Entry | None
    keep: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[int] | None


@dataclass(slots=True)
class _Failure:
    since: str
    error: AuditUnavailable
    retry_at: float
    lost: int = 0


class AuditLog:
    """The log of one store, made by `open`. Public methods belong to the event loop."""

    def __init__(self, engine: sa.Engine, key: SealKey, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._engine = engine
        self._key = key
        self._retry_seconds = retry_seconds
        self._queue: SimpleQueue[list[_Item] | None] = SimpleQueue()
        self._gathered: list[_Item] = []
        self._handing_over: asyncio.TimerHandle | None = None
        self._room = asyncio.Semaphore(CAPACITY)
        self._kept: list[Entry] = []
        self._failure: _Failure | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, engine: sa.Engine, key_path: Path, *, retry_seconds: float = RETRY_SECONDS) -> AuditLog:
        """Check the end of the chain (or begin one) and start the writer. Raises `AuditUnavailable`."""
        return cls(engine, open_chain(engine, key_path), retry_seconds=retry_seconds)

    async def intent(self, kind: str, *, session: str | None, principal: str | None, body: Mapping[str, Any]) -> int:
        """Write what is about to happen; its number, when it is on disk.

        Raises `AuditUnavailable`: then the effect must not happen, and the intent is not written later.
        """
        if CATALOGUE[kind].role != "intent":
            raise ValueError(f"{kind} is not an intent")
        failure = self._failure
        if failure is not None:
            raise AuditUnavailable(str(failure.error))
        entry = make_entry(kind, session=session, principal=principal, body=encode_body(body))
        return await (await self._enqueue(entry, keep=False))

    async def announce(
        self, kind: str, *, session: str | None, principal: str | None, body: Mapping[str, Any]
    ) -> Announcement:
        """Enqueue an intent whose effect changes nothing here, without waiting for the disk: a model call.

        It is on disk before any later intent is, and at most `LINGER_SECONDS` and one commit later. Raises
        `AuditUnavailable` while the log is known to be broken; one that breaks just now writes it late.
        """
        if CATALOGUE[kind].role != "intent":
            raise ValueError(f"{kind} is not an intent")
        failure = self._failure
        if failure is not None:
            raise AuditUnavailable(str(failure.error))
        announced = Announcement()
        entry = make_entry(kind, session=session, principal=principal, body=encode_body(body), announced=announced)
        await self._gather(entry)
        return announced

    async def conclude(
        self, kind: str, *, session: str | None, principal: str | None, body: Mapping[str, Any], intent: Announcement
    ) -> None:
        """Enqueue the result of what was announced; as `record`, where nobody waits for it."""
        await self._gather(
            make_entry(kind, session=session, principal=principal, body=encode_body(body), intent=intent)
        )

    async def record(
        self,
        kind: str,
        *,
        session: str | None,
        principal: str | None,
        body: Mapping[str, Any],
        intent: int | Announcement | None = None,
    ) -> asyncio.Future[int]:
        """Enqueue what has happened; returns without waiting for the disk.

        The future gives the number, or `AuditUnavailable` if the write failed; it may be ignored. Do not
        record again after a failure: the event is kept and written when the log recovers.
        """
        facts = CATALOGUE[kind]
        if facts.role == "intent" or (facts.role == "result") != (intent is not None):
            raise ValueError(f"{kind} is a {facts.role}; an intent number goes with results only")
        entry = make_entry(kind, session=session, principal=principal, body=encode_body(body), intent=intent)
        return await self._enqueue(entry, keep=True)

    async def flush(self) -> None:
        """Return when everything enqueued before is on disk. Raises `AuditUnavailable` if it cannot be."""
        await (await self._enqueue(None, keep=False))

    async def aclose(self) -> None:
        """Write what is enqueued and stop the writer. What cannot be written is told to the process log."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def broken(self) -> str | None:
        """Why the log cannot be written now, if it cannot."""
        failure = self._failure
        return None if failure is None else str(failure.error)

    async def _enqueue(self, entry: Entry | None, *, keep: bool) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieved)
        await self._gather(entry, keep=keep, future=future)
        return future

    async def _gather(
        self, entry: Entry | None, *, keep: bool = True, future: asyncio.Future[int] | None = None
    ) -> None:
        await self._room.acquire()
        if self._closed:
            self._room.release()
            raise AuditUnavailable("the audit log is closed")
        loop = asyncio.get_running_loop()
        self._gathered.append(_Item(entry, keep, loop, future))
        if not keep or len(self._gathered) >= MAX_BATCH:
            self._hand_over()
        elif self._handing_over is None:
            self._handing_over = loop.call_later(LINGER_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        """Give the writer what was gathered."""
        if self._handing_over is not None:
            self._handing_over.cancel()
            self._handing_over = None
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    # The rest runs in the writer thread.

    def _run(self) -> None:
        open_ = True
        while open_:
            items, open_ = self._take()
            if self._failure is None:
                if items:
                    self._write(items)
                continue
            self._fail(items, self._failure)
            if not open_ or monotonic() >= self._failure.retry_at:
                self._recover(self._failure)
        if self._failure is not None and self._kept:
            log.error("audit_events_lost_at_close", count=len(self._kept), reason=str(self._failure.error))

    def _take(self) -> tuple[list[_Item], bool]:
        """What there is, after waiting for it or for the retry; False with it when it is time to end."""
        items: list[_Item] = []
        failure = self._failure
        timeout = None if failure is None else max(0.0, failure.retry_at - monotonic())
        try:
            batch = self._queue.get(timeout=timeout)
            while batch is not None:
                items += batch
                if len(items) >= MAX_BATCH:
                    return items, True
                batch = self._queue.get_nowait()
        except Empty:
            return items, True
        return items, False

    def _write(self, items: list[_Item]) -> None:
        entries = [item.entry for item in items if item.entry is not None]
        error = self._attempt(entries)
        if isinstance(error, AuditUnavailable):
            self._failure = _Failure(utc_now(), error, monotonic() + self._retry_seconds)
            log.error("audit_log_broken", reason=str(error))
            self._fail(items, self._failure)
            return
        numbers = iter(error)
        self._settle([(item, next(numbers) if item.entry is not None else 0) for item in items])

    def _attempt(self, entries: list[Entry]) -> list[int] | AuditUnavailable:
        try:
            return commit(self._engine, self._key, entries)
        except AuditUnavailable as error:
            return error
        except Exception as error:
            log.exception("audit_writer_failed")
            return AuditUnavailable(f"the audit log cannot be written: {error}")

    def _fail(self, items: list[_Item], failure: _Failure) -> None:
        for item in items:
            if item.entry is not None and item.keep:
                if len(self._kept) < MAX_WAITING:
                    self._kept.append(item.entry)
                else:
                    failure.lost += 1
        self._settle([(item, failure.error) for item in items])

    def _recover(self, failure: _Failure) -> None:
        body = {
            "since": failure.since,
            "reason": str(failure.error),
            "waiting": len(self._kept),
            "lost": failure.lost,
        }
        notice = make_entry("audit.recovered", session=None, principal=None, body=encode_body(body))
        result = self._attempt([notice, *self._kept])
        if isinstance(result, AuditUnavailable):
            failure.error = result
            failure.retry_at = monotonic() + self._retry_seconds
            return
        self._kept.clear()
        self._failure = None
        log.info("audit_log_recovered", waiting=body["waiting"], lost=failure.lost)

    def _settle(self, outcomes: list[tuple[_Item, int | AuditUnavailable]]) -> None:
        """Hand outcomes to the loops that wait for them, one call a loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Item, int | AuditUnavailable]]] = {}
        for outcome in outcomes:
            by_loop.setdefault(outcome[0].loop, []).append(outcome)
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._deliver, settled)
            except RuntimeError:
                log.warning("audit_waiter_gone", count=len(settled))

    def _deliver(self, outcomes: list[tuple[_Item, int | AuditUnavailable]]) -> None:
        for item, outcome in outcomes:
            self._room.release()
            if item.future is None or item.future.done():
                continue
            if isinstance(outcome, AuditUnavailable):
                item.future.set_exception(AuditUnavailable(str(outcome)))
            else:
                item.future.set_result(outcome)


def _retrieved(future: asyncio.Future[int]) -> None:
    """An ignored failure is no news: the log itself reports that it is broken."""
    if not future.cancelled():
        future.exception()
