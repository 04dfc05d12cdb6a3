"""Runs the scripted upstream for a test: as the separate process it is, or on a socket of this process.

Both have the same face. The process is for tests of a gateway; the other is for many small cases.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import parse
from gateway.providers.scripted.server import ScriptedServer

WAIT = 20.0


class Upstream:
    """What a test asks of a running scenario."""

    def __init__(self, url: str, record: Path) -> None:
        self.url = url
        self.record = record
        self.stderr = ""

    async def log(self) -> dict[str, Any]:
        """Short entries of the requests so far, and the violations."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found: dict[str, Any] = (await client.get(f"{self.url}/scripted/log")).json()
        return found

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The log, once it fulfils the condition."""
        async with asyncio.timeout(WAIT):
            while not condition(found := await self.log()):
                await asyncio.sleep(0.01)
        return found

    def recorded(self) -> list[dict[str, Any]]:
        """The requests with headers and bodies."""
        lines = [json.loads(line) for line in self.record.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["kind"] == "request"]


class UpstreamProcess(Upstream):
    """A scenario in its own process."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, record: Path) -> None:
        super().__init__(url, record)
        self._process = process

    @classmethod
    async def start(cls, scenario: dict[str, Any] | Path, folder: Path) -> "UpstreamProcess":
        path = scenario if isinstance(scenario, Path) else folder / "scenario.yaml"
        if not isinstance(scenario, Path):
            path.write_text(yaml.safe_dump(scenario, allow_unicode=True), encoding="utf-8")
        record = folder / "record.jsonl"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.providers.scripted", "--scenario", path, "--record", record),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), WAIT)).decode().strip()
        if not line.startswith("listening on "):
            _, complaint = await process.communicate()
            raise AssertionError(f"the scripted upstream did not start: {complaint.decode()}")
        return cls(process, line.removeprefix("listening on "), record)

    async def stop(self) -> int:
        """Ends the process; returns its status: 0, or 3 when a request was not what the script expects."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        _, complaint = await asyncio.wait_for(self._process.communicate(), WAIT)
        self.stderr += complaint.decode()
        assert self._process.returncode is not None
        return self._process.returncode


class UpstreamHere(Upstream):
    """A scenario on a socket of this process."""

    def __init__(self, server: ScriptedServer, log: Record, url: str, record: Path) -> None:
        super().__init__(url, record)
        self._server = server
        self._log = log

    @classmethod
    async def start(cls, scenario: dict[str, Any], record: Path) -> "UpstreamHere":
        log = Record(record)
        server = ScriptedServer(parse(scenario), log)
        return cls(server, log, f"http://127.0.0.1:{await server.start()}", record)

    async def stop(self) -> int:
        """As the process would end."""
        await self._server.aclose()
        self._log.close()
        return 3 if self._log.violations else 0


Scripted = Callable[[dict[str, Any]], Awaitable[UpstreamHere]]
"""The fixture `scripted`."""

ScriptedProcess = Callable[[dict[str, Any] | Path], Awaitable[UpstreamProcess]]
"""The fixture `scripted_process`."""
