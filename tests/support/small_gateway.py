"""Some of the gateway's routes on a real port, with a store, keys and an audit log, but no sandbox or upstream."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import sqlalchemy as sa
import uvicorn
from fastapi import APIRouter, FastAPI

from gateway.api import errors
from gateway.audit.log import AuditLog
from gateway.cache import PromptCache
from gateway.limits.ledger import UsageLedger
from gateway.settings import Settings
from gateway.store.engine import close_store, open_store
from gateway.store.keycache import KeyCache
from gateway.store.keys import Keys
from gateway.store.usage import UsageRecords
from tests.support.processes import until

Result = TypeVar("Result")


class SmallGateway:
    """`run` executes a coroutine in the server's own loop."""

    def __init__(self, folder: Path, *routers: APIRouter) -> None:
        self.engine: sa.Engine = open_store(f"sqlite:///{folder / 'small.db'}")
        self.keys = Keys(self.engine)
        self.cache = PromptCache(max_entries=10, ttl_seconds=300, max_bytes=1_000_000)
        self.ledger = UsageLedger(UsageRecords(self.engine))
        self._audit_key = folder / "audit.key"
        self._settings = Settings(data_dir=folder, prompt_cache_enabled=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        app = FastAPI(lifespan=self._lifespan)
        errors.install(app)
        app.add_middleware(errors.RequestIds)
        for router in routers:
            app.include_router(router)
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run)

    def key(self, subject: str) -> str:
        """A fresh secret."""
        return self.keys.create("test", subject)[1]

    @property
    def url(self) -> str:
        [server] = self._server.servers
        host, port = server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self._thread.start()
        until(lambda: self._server.started, "the small gateway")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        close_store(self.engine)
        assert not self._thread.is_alive()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        audit = AuditLog.open(self.engine, self._audit_key)
        app.state.context = SimpleNamespace(
            settings=self._settings,
            keys=KeyCache(self.keys),
            services=SimpleNamespace(audit=audit),
            usage=self.ledger,
            prompt_cache=self.cache,
        )
        try:
            yield
        finally:
            await audit.aclose()


@contextlib.contextmanager
def small_gateway(folder: Path, *routers: APIRouter) -> Iterator[SmallGateway]:
    """Serving for a block."""
    gateway = SmallGateway(folder, *routers)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
