"""A stream cut at any byte, in either direction, loses nothing and repeats nothing."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest

from gateway.sandbox.channel import Channel
from gateway.sandbox.errors import SandboxGone, StreamClosed
from gateway.sandbox.stream import ByteStream


class Cutting:
    """Passes bytes until a budget is used up, then loses the rest of both directions and ends.

    The loss is like an engine's: bytes on the way when the connection breaks are gone, at any offset."""

    def __init__(self, inner: ByteStream, incoming: int, outgoing: int, lost: int) -> None:
        self._inner = inner
        self._incoming = incoming
        self._outgoing = outgoing
        self._lost = lost
        self._cut = False

    async def read(self) -> bytes:
        if self._cut:
            return b""
        data = await self._inner.read()
        if self._cut:
            return b""
        if len(data) < self._incoming:
            self._incoming -= len(data)
            return data
        kept = data[: self._incoming]
        dropped = len(data) - len(kept)
        self._cut = True
        while dropped < self._lost:
            # What the engine had taken from the sandbox and could not deliver.
            try:
                more = await asyncio.wait_for(self._inner.read(), 0.01)
            except TimeoutError:
                break
            dropped += len(more)
        return kept

    def write(self, data: bytes) -> None:
        if self._cut:
            raise StreamClosed("cut")
        if len(data) >= self._outgoing:
            self._inner.write(data[: self._outgoing])
            self._cut = True
            # The reader has to notice as well: a cut connection ends in both directions.
            self._inner_ends()
            return
        self._outgoing -= len(data)
        self._inner.write(data)

    def _inner_ends(self) -> None:
        asyncio.get_running_loop().create_task(self._inner.aclose())

    async def drain(self) -> None:
        await self._inner.drain()

    async def aclose(self) -> None:
        self._cut = True
        await self._inner.aclose()


class Cutter:
    """Wraps every stream the channel attaches, each with a seeded budget."""

    def __init__(self, seed: int, incoming: int, outgoing: int, streams: int) -> None:
        self._random = random.Random(seed)
        self._incoming = incoming
        self._outgoing = outgoing
        self._left = streams
        self.attached = 0

    def __call__(self, inner: ByteStream) -> ByteStream:
        self.attached += 1
        if self._left <= 0:
            return inner
        self._left -= 1
        # Never before hello is through: until then there is no nonce to resume with.
        incoming = 700 + self._random.randrange(self._incoming)
        if self._left % 3 == 0:
            # Three streams lost in a row are the end of a sandbox; every third gets past its resumption.
            incoming += 2_000_000
        outgoing = 200 + self._random.randrange(self._outgoing)
        return Cutting(inner, incoming, outgoing, self._random.randrange(300_000))


@pytest.mark.parametrize("seed", range(12))
async def test_output_survives_cuts_of_what_the_sandbox_sends(launch: Any, seed: int) -> None:
    cutter = Cutter(seed, incoming=600_000, outgoing=10**9, streams=6)
    running = await launch(wrap=cutter, attachable=True)
    script = "import os,hashlib\nd=os.urandom(3<<20)\nos.write(2,hashlib.sha256(d).hexdigest().encode())\n"
    script += "v=memoryview(d)\nwhile v: v=v[os.write(1,v):]"
    process = await running.start("python3", "-I", "-S", "-c", script)
    digest, told = hashlib.sha256(), b""
    async with asyncio.timeout(60):
        async for fd, chunk in process.output():
            if fd == 1:
                digest.update(chunk)
            else:
                told += chunk
        assert (await process.wait()).code == 0
    assert digest.hexdigest().encode() == told
    assert cutter.attached > 1


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_runs_twice_when_requests_are_cut(launch: Any, seed: int) -> None:
    cutter = Cutter(seed, incoming=10**9, outgoing=4000, streams=12)
    running = await launch(wrap=cutter, attachable=True)
    log = running.path("log")

    async def once(number: int) -> int | None:
        process = await running.start("sh", "-c", f"echo {number} >> {log}")
        return (await process.wait()).code

    async with asyncio.timeout(60):
        assert await asyncio.gather(*[once(n) for n in range(100)]) == [0] * 100
    lines = (running.root / "log").read_text().split()
    assert sorted(map(int, lines)) == list(range(100))
    assert cutter.attached > 1


@pytest.mark.parametrize("seed", range(8))
async def test_large_bodies_survive_cuts_in_both_directions(launch: Any, seed: int) -> None:
    cutter = Cutter(seed, incoming=900_000, outgoing=900_000, streams=8)
    running = await launch(wrap=cutter, attachable=True)
    body = random.Random(seed).randbytes(700_000)
    async with asyncio.timeout(60):
        for number in range(6):
            written = await running.host.write(running.path(f"f{number}"), body)
            assert written.created
            assert (await running.host.read(running.path(f"f{number}"))).data == body
    assert cutter.attached > 1


async def test_a_sandbox_that_cannot_be_attached_again_fails_every_waiting_call(launch: Any) -> None:
    running = await launch()
    process = await running.start("sleep", "300")
    waiting = asyncio.create_task(process.wait())
    reading = asyncio.create_task(running.host.read_lines("/dev/null/none", timeout=600))
    await asyncio.gather(reading, return_exceptions=True)
    running.process.kill()
    with pytest.raises(SandboxGone):
        async with asyncio.timeout(20):
            await waiting
    with pytest.raises(SandboxGone):
        await running.host.ping()
    assert isinstance(await running.channel.wait_broken(), SandboxGone)


async def test_attaching_is_tried_a_few_times_only(launch: Any) -> None:
    attempts = 0
    first: list[ByteStream] = []

    def count(stream: ByteStream) -> ByteStream:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            raise ConnectionRefusedError("engine is away")
        first.append(stream)
        return stream

    running = await launch(wrap=count, attachable=True)
    await running.host.ping()
    await first[0].aclose()
    with pytest.raises(SandboxGone):
        async with asyncio.timeout(20):
            raise await running.channel.wait_broken()
    assert attempts == 4


async def test_closing_a_channel_in_the_middle_of_resuming_ends_it(launch: Any) -> None:
    entered = asyncio.Event()
    running = await launch(attachable=True)

    async def never() -> ByteStream:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    channel: Channel = running.channel
    channel._attach = never
    assert channel._stream is not None
    await channel._stream.aclose()
    await asyncio.wait_for(entered.wait(), 10)
    await asyncio.wait_for(channel.aclose(), 10)
    assert channel.failure is not None
