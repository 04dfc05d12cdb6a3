"""The composition root: settings in, a running application out. The only file that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway import __version__
from gateway.agent.facts import TurnLimits
from gateway.agent.loop import Services
from gateway.agent.seal import Sealer
from gateway.agent.turns import Turns
from gateway.api import cache, errors, health, messages, models, sessions, usage, workspace
from gateway.api.auth import principal_of
from gateway.api.context import ApiContext
from gateway.audit.log import AuditLog
from gateway.cache import PromptCache
from gateway.launch import driver_for
from gateway.limits import Admission, Prices, UsageLedger, default_limits
from gateway.observer import RecordedSessions
from gateway.relay.lane import Forwarding, Lane
from gateway.relay.records import RelayRecords
from gateway.routing.build import build_router
from gateway.sandbox.driver import Driver
from gateway.sandbox.sessions import Sessions
from gateway.settings import Settings
from gateway.store.engine import close_store, open_store
from gateway.store.keycache import KeyCache
from gateway.store.keys import Keys
from gateway.store.sessions import SessionRecords
from gateway.store.usage import UsageRecords
from gateway.tools.workbench import Workbenches

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Foundation:
    """What is up before the first sandbox: store, audit, driver."""

    engine: sa.Engine
    audit: AuditLog
    driver: Driver


def create_app(settings: Settings, address: str = "") -> FastAPI:
    """The application. Opening its lifespan opens the store, the audit log and the sandbox driver.

    `address` is where it will listen, for the audit log.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _foundation(settings) as foundation, _context(settings, address, foundation) as context:
            app.state.context = context
            app.state.forwarding = _forwarding(context)
            try:
                yield
            finally:
                app.state.forwarding = None

    app = FastAPI(
        title="Bulkhead",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would answer without an envelope, and invite the client to send its key a second time.
        redirect_slashes=False,
    )
    errors.install(app)
    app.add_middleware(errors.RequestIds)
    for room in (cache, health, messages, models, sessions, usage, workspace):
        app.include_router(room.router)
    return app


def served(app: FastAPI) -> ASGIApp:
    """The application as a server is given it: with the lane in front, which spares what it forwards the
    framework's own layers."""
    return Lane(app, lambda: getattr(app.state, "forwarding", None))


@contextlib.asynccontextmanager
async def _foundation(settings: Settings) -> AsyncIterator[_Foundation]:
    settings.prepare_data_dir()
    engine = open_store(settings.store_url)
    try:
        audit = AuditLog.open(engine, settings.audit_key_path)
        try:
            async with driver_for(settings) as driver:
                yield _Foundation(engine, audit, driver)
        finally:
            await audit.aclose()
    finally:
        close_store(engine)


@contextlib.asynccontextmanager
async def _context(settings: Settings, address: str, foundation: _Foundation) -> AsyncIterator[ApiContext]:
    audit, driver = foundation.audit, foundation.driver
    records = SessionRecords(foundation.engine)
    removed = await driver.reap(())
    if removed:
        log.warning("leftovers_removed", sandboxes=removed)
    if settings.port:
        await asyncio.to_thread(records.close_all_open, time.time(), "gateway restarted")
    open_sessions = Sessions(
        driver,
        RecordedSessions(audit, records, driver),
        idle_seconds=settings.idle_seconds,
        max_sessions=settings.max_sessions,
    )
    router = build_router(settings)
    turns = Turns(settings.grace_seconds)
    services = Services(router, open_sessions, Workbenches(settings.tool_output_bytes), audit, _turn_limits(settings))
    ledger = UsageLedger(UsageRecords(foundation.engine))
    await asyncio.to_thread(ledger.load)
    context = ApiContext(
        settings,
        KeyCache(Keys(foundation.engine)),
        Admission(default_limits(settings), Prices.load(settings.prices_file), ledger),
        ledger,
        PromptCache(
            max_entries=settings.prompt_cache_max_entries,
            ttl_seconds=settings.prompt_cache_ttl_ms / 1000,
            max_bytes=settings.prompt_cache_max_bytes,
        ),
        services,
        turns,
        Sealer.from_file(settings.data_dir / "seal.key"),
        records,
        lambda: audit.broken,
    )
    started = time.monotonic()
    opening = _opening(settings, address, driver, router.name)
    await (await audit.record("gateway.start", session=None, principal=None, body=opening))
    async with asyncio.TaskGroup() as group:
        group.create_task(open_sessions.run())
        writing_usage = group.create_task(ledger.run())
        try:
            yield context
        finally:
            await turns.aclose()
            await open_sessions.aclose()
            await router.aclose()
            await ledger.aclose()
            await writing_usage
    reason = "stopped" if sys.exception() is None else "failed"
    body = {"reason": reason, "seconds": round(time.monotonic() - started, 1)}
    await audit.record("gateway.stop", session=None, principal=None, body=body)


def _forwarding(context: ApiContext) -> Forwarding:
    settings = context.settings
    return Forwarding(
        authenticate=partial(principal_of, context),
        router=context.services.router,
        admission=context.admission,
        records=RelayRecords(context.services.audit, context.services.router.name),
        problem=context.problem,
        sandboxed=settings.mode == "sandbox",
        client_tools=settings.client_tools,
        caching=settings.prompt_cache_enabled,
        max_body_bytes=settings.max_body_bytes,
        heartbeat_seconds=settings.heartbeat_seconds,
        max_seconds=settings.max_turn_seconds,
    )


def _turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        steps=settings.max_steps,
        seconds=settings.max_turn_seconds,
        repeats=settings.max_repeats,
        output_tokens=settings.max_turn_output_tokens,
        heartbeat_seconds=settings.heartbeat_seconds,
    )


def _opening(settings: Settings, address: str, driver: Driver, upstreams: str) -> dict[str, object]:
    return {
        "version": __version__,
        "address": address or f"{settings.host}:{settings.port}",
        "provider": upstreams,
        "driver": driver.name,
        "unenforced": list(driver.guarantees.not_enforced),
    }
