"""Ending a call ends its whole tree, whatever it does to get away, and touches no other call."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from typing import Any

import pytest

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.toolhost import Process

DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.write(1, b"d\\n")
            time.sleep(600)
        os._exit(0)
time.sleep(600)
"""
DEAF = """
import signal, os, time
for number in range(1, 32):
    if number not in (9, 19, 32, 33):
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:
            pass
os.write(1, b"d\\n")
time.sleep(600)
"""
BOMB = """
import os
os.write(1, b"d\\n")
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
CHURNER = """
import os
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        os.write(1, b"d\\n")
        while True:
            try:
                child = os.fork()
            except OSError:
                continue
            if child:
                os._exit(0)
            os.setsid()
os._exit(0)
"""
WORK = """
import os, hashlib, time
digest = hashlib.sha256()
for n in range(400):
    block = os.urandom(5000)
    digest.update(block)
    while block:
        block = block[os.write(1, block):]
    time.sleep(0.005)
os.write(2, digest.hexdigest().encode())
"""


async def attack(running: Any, script: str, marks: int = 1) -> Process:
    """Start a hostile program; returns when it said so often enough that it is under way."""
    process: Process = await running.start("python3", "-I", "-S", "-c", script)
    seen = 0
    async for _, chunk in process.output():
        seen += chunk.count(b"d")
        if seen >= marks:
            break
    return process


async def left(running: Any, call: str) -> int:
    calls = await running.host.calls()
    return sum(c.processes for c in calls if c.call == call)


async def newest_pid(running: Any) -> int:
    process = await running.start("cat", "/proc/loadavg")
    return int(b"".join([chunk async for _, chunk in process.output()]).split()[4])


async def checksummed(process: Process) -> tuple[int | None, bool]:
    digest, told = hashlib.sha256(), b""
    async for fd, chunk in process.output():
        if fd == 1:
            digest.update(chunk)
        else:
            told += chunk
    return (await process.wait()).code, told == digest.hexdigest().encode()


@pytest.mark.parametrize(
    ("script", "marks"),
    [(DAEMON, 10), (DEAF, 1), (BOMB, 1), (CHURNER, 8)],
    ids=["double-forked daemons", "deaf to signals", "fork bomb", "fork-and-exit churners"],
)
@pytest.mark.parametrize("company", [False, True], ids=["alone", "beside another call"])
async def test_nothing_of_a_killed_call_survives(jailed: Any, script: str, marks: int, company: bool) -> None:
    beside = await jailed.start("python3", "-I", "-S", "-c", WORK) if company else None
    watching = asyncio.create_task(checksummed(beside)) if beside else None
    hostile = await attack(jailed, script, marks)
    killed = await hostile.kill()
    assert killed.killed >= 1
    assert killed.scope == "call"
    assert await left(jailed, hostile.call) == 0
    async with asyncio.timeout(20):
        await hostile.wait()
    if watching is not None:
        assert await watching == (0, True)
    assert (await jailed.host.health()).processes == 0
    # What forks and exits all the time can hide from a look at /proc, but not from the count of new pids.
    assert await newest_pid(jailed) == await newest_pid(jailed) - 1
    assert (await jailed.shell("echo alive"))[1] == b"alive\n"


@pytest.mark.parametrize("script", [DAEMON, DEAF], ids=["daemons", "deaf"])
async def test_a_toolhost_that_is_not_pid_1_kills_trees_too(running: Any, script: str) -> None:
    beside = await running.start("sleep", "300")
    hostile = await attack(running, script, script.count("d\\\\n") and 1)
    assert (await hostile.kill()).scope == "call"
    assert await left(running, hostile.call) == 0
    assert await left(running, beside.call) == 1
    await beside.kill()


async def test_the_killed_call_reports_its_signal(jailed: Any) -> None:
    process = await jailed.start("sleep", "300")
    await process.kill()
    ended = await process.wait()
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)


async def test_a_server_left_in_the_background_survives_other_kills(jailed: Any) -> None:
    server = await jailed.start("sh", "-c", "sleep 300 & exit 0")
    await server.wait()
    other = await jailed.start("sleep", "300")
    await other.kill()
    assert await left(jailed, server.call) == 1
    assert (await server.kill()).killed == 1
    assert await left(jailed, server.call) == 0


async def test_killing_what_never_ran_is_not_found(jailed: Any) -> None:
    process = await jailed.start("true")
    await process.wait()
    assert (await process.kill()).killed == 0
    process.call = "never"
    with pytest.raises(ToolhostError) as refused:
        await process.kill()
    assert refused.value.reason == "not_found"


async def test_a_process_that_leaves_its_call_falls_with_the_next_kill(jailed: Any) -> None:
    script = "import os, resource, time\n"
    script += "soft, hard = resource.getrlimit(15)\nresource.setrlimit(15, (hard // 2, hard // 2))\n"
    script += "os.write(1, b'd')\ntime.sleep(600)\n"
    beside = await jailed.start("sleep", "300")
    hostile = await attack(jailed, script)
    await hostile.kill()
    async with asyncio.timeout(10):
        await hostile.wait()
    assert await left(jailed, beside.call) == 1


async def test_spawning_at_the_process_limit_is_refused_and_works_again_after_the_kill(jailed: Any) -> None:
    bomb = await attack(jailed, BOMB)
    refused = 0
    async with asyncio.timeout(20):
        while not refused:
            try:
                process = await jailed.start("true")
                await process.wait()
            except ToolhostError as error:
                assert error.reason == "limit"
                refused += 1
    await bomb.kill()
    assert (await jailed.shell("echo alive"))[1] == b"alive\n"
