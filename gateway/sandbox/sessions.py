"""The registry of open sessions: open at first use, close when idle, broken, crowded out or told to."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field

import structlog

from gateway.sandbox.channel import Channel
from gateway.sandbox.driver import Driver, SandboxSpec, Workspace
from gateway.sandbox.errors import SandboxError, SandboxUnavailable
from gateway.sandbox.session import Session, SessionKey, SessionObserver
from gateway.sandbox.toolhost import Toolhost

log = structlog.get_logger(__name__)

HELLO_TIMEOUT = 30.0
"""Seconds a fresh toolhost has to say hello before the open counts as failed."""

SWEEP_SECONDS = 5.0
"""How often at least idle and broken sessions are looked for; a session may outlive its idle time by this much."""


@dataclass(slots=True)
class _Opening:
    """Callers of one key that wait for one opening."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0


class Sessions:
    """Sessions of one gateway. Bounded by `max_sessions`: past it the longest idle one makes room, and when
    none is idle opening fails with `SandboxUnavailable`."""

    def __init__(self, driver: Driver, observer: SessionObserver, *, idle_seconds: float, max_sessions: int) -> None:
        self.driver = driver
        self._observer = observer
        self._idle_seconds = idle_seconds
        self._max_sessions = max_sessions
        self._open: dict[SessionKey, Session] = {}
        self._opening: dict[SessionKey, _Opening] = {}
        self._starting = 0
        self._stopped = asyncio.Event()

    def all(self) -> list[Session]:
        return list(self._open.values())

    def find(self, session_id: str) -> Session | None:
        return next((session for session in self._open.values() if session.id == session_id), None)

    def peek(self, key: SessionKey) -> Session | None:
        """The open session of `key`, if there is one; it is not opened and its idle clock goes on."""
        return self._open.get(key)

    async def get(self, key: SessionKey, workspace: Workspace) -> Session:
        """The open session of `key`, or a fresh one. Concurrent callers of one key share one opening."""
        opening = self._opening.setdefault(key, _Opening())
        opening.callers += 1
        try:
            async with opening.lock:
                session = self._open.get(key)
                if session is not None and not session.closing and session.channel.failure is None:
                    session.last_used = time.monotonic()
                    return session
                if session is not None:
                    await self._close(session, "broken")
                return await self._open_new(key, workspace)
        finally:
            opening.callers -= 1
            if opening.callers == 0:
                del self._opening[key]

    async def close(self, session: Session, reason: str) -> None:
        """Close it and everything that belongs to it; calls still running in it fail at once."""
        await self._close(session, reason)

    async def run(self) -> None:
        """Sweep until `aclose`: idle and broken sessions are closed."""
        while not self._stopped.is_set():
            for session in self.all():
                idle = time.monotonic() - session.last_used
                if session.channel.failure is not None:
                    await self._close(session, "broken")
                elif session.users == 0 and idle >= self._idle_seconds:
                    await self._close(session, "idle")
            try:
                await asyncio.wait_for(self._stopped.wait(), min(SWEEP_SECONDS, self._idle_seconds / 2))
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """Close every session; nothing is left behind."""
        self._stopped.set()
        await asyncio.gather(*(self._close(session, "gateway stopped") for session in self.all()))

    async def _make_room(self) -> None:
        if len(self._open) + self._starting < self._max_sessions:
            return
        idle = [session for session in self._open.values() if session.users == 0]
        if not idle:
            raise SandboxUnavailable(
                "busy", f"all {self._max_sessions} sandbox sessions are in use; try again when one has ended"
            )
        await self._close(min(idle, key=lambda session: session.last_used), "made room")

    async def _open_new(self, key: SessionKey, workspace: Workspace) -> Session:
        if self._stopped.is_set():
            raise SandboxUnavailable("stopping", "the gateway is stopping")
        await self._make_room()
        self._starting += 1
        try:
            return await self._opened(f"s-{secrets.token_hex(8)}", key, workspace)
        finally:
            self._starting -= 1

    async def _opened(self, session_id: str, key: SessionKey, workspace: Workspace) -> Session:
        intent = await self._observer.opening(session_id, key, workspace)
        try:
            session = await self._start(session_id, key, workspace)
        except SandboxError as error:
            await self._observer.open_failed(session_id, key, intent, error)
            raise
        self._open[key] = session
        await self._observer.opened(session, intent)
        return session

    async def _start(self, session_id: str, key: SessionKey, workspace: Workspace) -> Session:
        sandbox = await self.driver.open(SandboxSpec(session=session_id, workspace=workspace))
        channel = Channel(sandbox.attach)
        try:
            await channel.start(HELLO_TIMEOUT)
        except BaseException:
            await channel.aclose()
            await sandbox.close()
            raise
        now = time.monotonic()
        return Session(session_id, key, workspace, sandbox, channel, Toolhost(channel), now, now)

    async def _close(self, session: Session, reason: str) -> None:
        if session.closing:
            return
        session.closing = True
        if self._open.get(session.key) is session:
            del self._open[session.key]
        await session.channel.aclose()
        try:
            await session.sandbox.close()
        except SandboxError as error:
            log.error("sandbox_close_failed", session=session.id, error=str(error))
        await self._observer.closed(session, reason)
