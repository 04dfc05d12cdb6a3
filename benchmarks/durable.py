"""Durable writes: the product's audit log on a disk, and the bare minimum the same disk takes for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from gateway.audit.log import AuditLog
from gateway.store.engine import close_store, open_store

__all__ = ["audit_log", "synced_append"]


@contextlib.asynccontextmanager
async def audit_log(directory: Path) -> AsyncIterator[AuditLog]:
    """A fresh store and audit log in `directory`, as the gateway opens them."""
    directory.mkdir(mode=0o700)
    engine = await asyncio.to_thread(open_store, f"sqlite:///{directory / 'store.db'}")
    try:
        audit = await asyncio.to_thread(AuditLog.open, engine, directory / "audit.key")
        try:
            yield audit
        finally:
            await audit.aclose()
    finally:
        close_store(engine)


@contextlib.contextmanager
def synced_append(directory: Path, size: int) -> Iterator[Callable[[], Awaitable[None]]]:
    """A function that appends `size` bytes to a file and returns when they are on disk (fdatasync), from a
    thread as the audit log does."""
    data = b"x" * size
    descriptor = os.open(directory / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append() -> None:
        os.write(descriptor, data)
        os.fdatasync(descriptor)

    async def once() -> None:
        await asyncio.to_thread(append)

    try:
        yield once
    finally:
        os.close(descriptor)
