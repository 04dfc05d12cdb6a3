"""The composition root: settings in, a running application out. The only file that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from fastapi import FastAPI

from gateway import __version__
from gateway.agent.facts import TurnLimits
from gateway.agent.loop import Services
from gateway.agent.seal import Sealer
from gateway.agent.turns import Turns
from gateway.api import errors, health, messages, models, sessions, workspace
from gateway.api.context import ApiContext
from gateway.audit.log import AuditLog
from gateway.launch import driver_for
from gateway.observer import RecordedSessions
from gateway.providers.anthropic import AnthropicProvider, Credential
from gateway.sandbox.driver import Driver
from gateway.sandbox.sessions import Sessions
from gateway.settings import Settings
from gateway.store.engine import close_store, open_store
from gateway.store.keycache import KeyCache
from gateway.store.keys import Keys
from gateway.store.sessions import SessionRecords
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
            yield

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
    for room in (health, messages, models, sessions, workspace):
        app.include_router(room.router)
    return app


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
    provider = _provider(settings)
    turns = Turns(settings.grace_seconds)
    services = Services(provider, open_sessions, Workbenches(settings.tool_output_bytes), audit, _turn_limits(settings))
    sealer = Sealer.from_file(settings.data_dir / "seal.key")
    context = ApiContext(
        settings, KeyCache(Keys(foundation.engine)), services, turns, sealer, records, lambda: audit.broken
    )
    started = time.monotonic()
    opening = _opening(settings, address, driver)
    await (await audit.record("gateway.start", session=None, principal=None, body=opening))
    async with asyncio.TaskGroup() as group:
        group.create_task(open_sessions.run())
        try:
            yield context
        finally:
            await turns.aclose()
            await open_sessions.aclose()
            await provider.aclose()
    reason = "stopped" if sys.exception() is None else "failed"
    body = {"reason": reason, "seconds": round(time.monotonic() - started, 1)}
    await audit.record("gateway.stop", session=None, principal=None, body=body)


def _provider(settings: Settings) -> AnthropicProvider:
    if settings.model_provider == "azure-anthropic":
        secret = settings.azure_anthropic_api_key
        value = secret.get_secret_value() if secret is not None else None
        return AnthropicProvider(
            settings.azure_anthropic_endpoint or "",
            Credential("api-key", value) if value is not None else None,
            name="azure-anthropic",
            version=settings.azure_anthropic_version,
            # Azure documents both spellings of the header and not every deployment reads both.
            extra_headers={"x-api-key": value} if value is not None else None,
            silence=settings.upstream_timeout_seconds,
        )
    secret = settings.anthropic_api_key
    return AnthropicProvider(
        settings.anthropic_endpoint,
        Credential(settings.anthropic_auth_scheme, secret.get_secret_value()) if secret is not None else None,
        silence=settings.upstream_timeout_seconds,
    )


def _turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        steps=settings.max_steps,
        seconds=settings.max_turn_seconds,
        repeats=settings.max_repeats,
        output_tokens=settings.max_turn_output_tokens,
        heartbeat_seconds=settings.heartbeat_seconds,
    )


def _opening(settings: Settings, address: str, driver: Driver) -> dict[str, object]:
    return {
        "version": __version__,
        "address": address or f"{settings.host}:{settings.port}",
        "provider": settings.model_provider,
        "driver": driver.name,
        "unenforced": list(driver.guarantees.not_enforced),
    }
