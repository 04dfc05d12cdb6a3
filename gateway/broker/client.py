"""Asking the broker, from asyncio. One connection per request; streams arrive as sockets.

It must not know the engine, sessions or the channel.
"""

import asyncio
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.broker import wire
from gateway.broker.errors import BrokerUnavailable, Refused

__all__ = ["BrokerClient", "Opened"]

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Opened:
    """A started sandbox and its attached stream, which the receiver must read and close."""

    sandbox: str
    profile_digest: str
    workspace: str
    uid: int
    gid: int
    image: str
    stream: socket.socket


class BrokerClient:
    """Every verb as a coroutine. Errors: `Refused` (the broker or engine said no), `BrokerUnavailable`."""

    def __init__(self, path: str | Path, *, time_limit: float = 180.0) -> None:
        self._path = str(path)
        self._time_limit = time_limit

    async def hello(self) -> dict[str, Any]:
        return (await self._ask(wire.Hello()))[0]

    async def open(self, session: str, workspace: wire.Workspace, profile: str = "default") -> Opened:
        """Create and start a sandbox. Cancelled or failed: the broker removes what it made."""
        facts, stream = await self._ask(wire.Open(session=session, workspace=workspace, profile=profile))
        if stream is None:
            raise BrokerUnavailable("the broker's answer came without a stream")
        try:
            return Opened(
                sandbox=str(facts["sandbox"]),
                profile_digest=str(facts["profile_digest"]),
                workspace=str(facts["workspace"]),
                uid=int(facts["uid"]),
                gid=int(facts["gid"]),
                image=str(facts["image"]),
                stream=stream,
            )
        except (KeyError, ValueError) as error:
            stream.close()
            raise BrokerUnavailable(f"the broker's answer lacks {error}") from error

    async def attach(self, sandbox: str) -> socket.socket:
        _, stream = await self._ask(wire.Attach(sandbox=sandbox))
        if stream is None:
            raise BrokerUnavailable("the broker's answer came without a stream")
        return stream

    async def inspect(self, sandbox: str) -> dict[str, Any]:
        return (await self._ask(wire.Inspect(sandbox=sandbox)))[0]

    async def close(self, sandbox: str) -> None:
        await self._ask(wire.Close(sandbox=sandbox))

    async def sandboxes(self) -> list[dict[str, Any]]:
        return list((await self._ask(wire.List()))[0]["sandboxes"])

    async def reap(self, keep: Collection[str]) -> list[str]:
        return list((await self._ask(wire.Reap(keep=sorted(keep))))[0]["removed"])

    async def images(self) -> list[dict[str, Any]]:
        return list((await self._ask(wire.Images()))[0]["images"])

    async def _ask(self, request: wire.Request) -> tuple[dict[str, Any], socket.socket | None]:
        try:
            async with asyncio.timeout(self._time_limit):
                return await self._exchange(request)
        except TimeoutError as error:
            raise BrokerUnavailable(f"the broker did not answer in {self._time_limit:g} s") from error
        except OSError as error:
            raise BrokerUnavailable(f"the broker at {self._path} cannot be reached: {error}") from error

    async def _exchange(self, request: wire.Request) -> tuple[dict[str, Any], socket.socket | None]:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, self._path)
            await loop.sock_sendall(connection, wire.encode_request(request))
            streams: list[int] = []
            try:
                facts = _facts(await _receive(connection, streams))
                if isinstance(request, wire.Open):
                    await loop.sock_sendall(connection, wire.ACKNOWLEDGED)
                stream = socket.socket(fileno=streams[0]) if streams else None
                streams = streams[1:]
            finally:
                for extra in streams:
                    os.close(extra)
        return facts, stream


def _facts(line: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BrokerUnavailable(f"the broker's answer cannot be read: {error}") from error
    if answer.get("ok") is not True:
        raise Refused(str(answer.get("reason", "engine")), str(answer.get("message", "no reason given")))
    return answer


async def _receive(connection: socket.socket, streams: list[int]) -> bytes:
    """One answer line; descriptors that came with it are put into `streams` at once, so that none is lost."""
    line = bytearray()
    while not line.endswith(b"\n"):
        await _readable(connection)
        try:
            part, descriptors, _, _ = socket.recv_fds(connection, CHUNK, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            continue
        streams.extend(descriptors)
        if not part:
            raise BrokerUnavailable("the broker went away in the middle of its answer")
        line += part
        if len(line) > wire.MAX_ANSWER:
            raise BrokerUnavailable("the broker's answer has no end")
    return bytes(line)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
