"""The broker as a child process of whoever embeds the gateway: started, found listening, stopped.

The child ends with its parent: its standard input is a pipe that only the parent holds. It must not know
what the broker is asked.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.broker.client import BrokerClient
from gateway.broker.errors import BrokerUnavailable

__all__ = ["BrokerProcess"]

START_SECONDS = 20.0
STOP_SECONDS = 90.0
LOOK_AGAIN = 0.02


class BrokerProcess:
    """`python -m gateway.broker`, with these options."""

    def __init__(
        self,
        socket: Path,
        *,
        gateway: str,
        roots: Sequence[Path] = (),
        options: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        self.socket = socket
        self._command = [sys.executable, "-P", "-m", "gateway.broker", "--until-eof"]
        self._command += ["--socket", str(socket), "--gateway", gateway]
        for root in roots:
            self._command += ["--allow-root", str(root)]
        self._command += options
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> BrokerClient:
        """Run it and wait until it listens. Raises `BrokerUnavailable` when it does not."""
        log = self._log.open("ab") if self._log is not None else None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=log
            )
        finally:
            if log is not None:
                log.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_listening()
        except (TimeoutError, BrokerUnavailable) as error:
            await self.stop()
            raise BrokerUnavailable(f"the broker did not start: {error or 'no answer'}") from error
        return BrokerClient(self.socket)

    async def stop(self) -> None:
        """End it, requests under way included."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _until_listening(self) -> None:
        while True:
            if self._process is None or self._process.returncode is not None:
                raise BrokerUnavailable("it ended at once; its log says why")
            try:
                _, writer = await asyncio.open_unix_connection(self.socket)
            except OSError:
                await asyncio.sleep(LOOK_AGAIN)
                continue
            writer.close()
            return
