"""The gateway's Bash tool from the model's call to its result, with an audit log on disk, but without HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from benchmarks.durable import audit_log
from gateway.agent.calls import CallRunner, plan
from gateway.agent.facts import TurnFacts
from gateway.agent.offer import offer_for
from gateway.messages import jsonbytes
from gateway.messages.digest import turn_digest
from gateway.messages.request import MessagesRequest
from gateway.policy import Disposition
from gateway.sandbox.session import Session
from gateway.tools.workbench import Workbench, Workbenches

__all__ = ["bash"]

_REQUEST = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "Run it."}]}


@contextlib.asynccontextmanager
async def bash(session: Session, command: str, directory: Path) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A function that has the gateway run `command` once, as a turn does. Raises RuntimeError if it fails."""
    bench = Workbenches(64 << 20).of(session, "", None)

    async def open_bench() -> Workbench:
        return bench

    async with audit_log(directory) as audit:
        runner = CallRunner(_facts(session), audit, open_bench)
        block = {"type": "tool_use", "id": "toolu_benchmark", "name": "Bash", "input": {"command": command}}

        async def once() -> None:
            call = plan(block, "toolu_benchmark", Disposition.GATEWAY, None)
            await runner.run_all([call])
            if call.result is None or call.result.is_error:
                raise RuntimeError(f"the Bash tool failed: {call.result or call.failure}")

        yield once


def _facts(session: Session) -> TurnFacts:
    request = MessagesRequest.parse(jsonbytes.encode(_REQUEST))
    return TurnFacts(
        turn_id="turn_benchmark",
        request_id="req_benchmark",
        request=request,
        messages=request.messages,
        offer=offer_for(request, sandboxed=True, claude_code=False, client_tools=()),
        headers={},
        session=session.key,
        agent="",
        workspace=session.workspace,
        directory=None,
        display=False,
        client="benchmark",
        digest=turn_digest(request.messages),
        cache_marks=0,
    )
