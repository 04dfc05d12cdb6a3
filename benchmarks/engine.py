"""The other side of most ratios: the engine's API by hand, over kept-alive connections to its socket.

The cheapest way to ask a Docker engine for anything, so that a ratio never flatters us by a slow client.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Engine", "EngineError", "Missing"]

API = "/v1.41"


class Missing(Exception):
    """Something the benchmarks need is not here; the message is one sentence."""


class EngineError(Exception):
    """The engine refused or ended a request."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Engine:
    """Requests to one engine. Idle connections are kept and used again; `aclose` closes them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[_Connection] = []

    async def require(self, image: str) -> None:
        """Raises `Missing` unless the engine answers and has the image."""
        try:
            await self.call("GET", "/_ping")
        except OSError as error:
            raise Missing(f"no container engine answers on {self._path} ({error}); run `make setup`.") from error
        try:
            await self.call("GET", f"/images/{image}/json")
        except EngineError as error:
            raise Missing(f"the engine has no image {image}; run `bulkhead images build`.") from error

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer. Raises `EngineError`, `OSError`."""
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            connection.writer.write(_request(method, path, body))
            status, headers = await _head(connection.reader)
            content = await _body(connection.reader, status, headers)
        except BaseException:
            connection.writer.close()
            raise
        self._idle.append(connection)
        if status >= 400:
            raise EngineError(f"{method} {path}: {status} {content[:300].decode('utf-8', 'replace')}")
        return json.loads(content) if content.strip().startswith((b"{", b"[")) else None

    async def create(self, image: str, command: list[str], labels: dict[str, str], *, name: str = "") -> str:
        """Id of a created container without network."""
        body = {
            "Image": image,
            "Entrypoint": command,
            "Cmd": [],
            "Labels": labels,
            "AttachStdout": True,
            "HostConfig": {"NetworkMode": "none"},
        }
        return str((await self.call("POST", f"/containers/create{name and '?name=' + name}", body))["Id"])

    async def run(self, image: str, command: list[str], labels: dict[str, str]) -> str:
        """What `docker run` does, without the removal: create, start, wait for the end. The container's id."""
        container = await self.create(image, command, labels)
        waiting = asyncio.ensure_future(self.call("POST", f"/containers/{container}/wait?condition=next-exit"))
        try:
            await self.call("POST", f"/containers/{container}/start")
            code = (await waiting)["StatusCode"]
        finally:
            waiting.cancel()
        if code != 0:
            raise EngineError(f"the container ended with {code}")
        return container

    async def execute(self, container: str, command: list[str]) -> int:
        """What `docker exec` does: create, start, read the output to its end, inspect. Bytes of output."""
        options = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
        execution = (await self.call("POST", f"/containers/{container}/exec", options))["Id"]
        connection = await self._connect()
        received = 0
        try:
            connection.writer.write(
                _request("POST", f"/exec/{execution}/start", {"Detach": False, "Tty": False}, upgrade=True)
            )
            status, _ = await _head(connection.reader)
            if status not in (101, 200):
                raise EngineError(f"exec start: {status}")
            while data := await connection.reader.read(256 << 10):
                received += len(data)
        finally:
            connection.writer.close()
        facts = await self.call("GET", f"/exec/{execution}/json")
        if facts["ExitCode"] != 0:
            raise EngineError(f"{command[0]} in the container ended with {facts['ExitCode']}")
        return received

    async def remove(self, container: str) -> None:
        await self.call("DELETE", f"/containers/{container}?force=true&v=true")

    async def labelled(self, label: str) -> list[str]:
        """Ids of all containers with this label (`name=value`)."""
        asked = json.dumps({"label": [label]}).replace('"', "%22").replace(" ", "")
        return [found["Id"] for found in await self.call("GET", f"/containers/json?all=true&filters={asked}")]

    async def process_of(self, container: str) -> int:
        """Process id, on this machine, of the container's first program."""
        return int((await self.call("GET", f"/containers/{container}/json"))["State"]["Pid"])

    async def aclose(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
            await connection.writer.wait_closed()

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_unix_connection(self._path, limit=1 << 20))


def _request(method: str, path: str, body: object, *, upgrade: bool = False) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {API}{path} HTTP/1.1", "Host: engine", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: tcp"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError as error:
        raise EngineError("the engine closed the connection") from error
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> bytes:
    if status == 204 or status == 304:
        return b""
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    content = b""
    while size := int((await reader.readline()).strip() or b"0", 16):
        content += (await reader.readexactly(size + 2))[:size]
    await reader.readline()
    return content
