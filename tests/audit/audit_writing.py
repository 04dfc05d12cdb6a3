"""Events as the gateway writes them, and a bounded wait, for the tests of this directory."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.audit.log import AuditLog


async def intend(log: AuditLog, **body: Any) -> int:
    return await log.intent("tool.intent", session="s-1", principal="alice", body={"tool": "Bash", **body})


async def conclude(log: AuditLog, intent: int, **body: Any) -> int:
    future = await log.record(
        "tool.result", session="s-1", principal="alice", body={"outcome": "ok", **body}, intent=intent
    )
    return await future


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait, for at most ten seconds, until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
