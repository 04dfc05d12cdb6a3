"""Programs in the sandbox: their output, input, exits and environment arrive as they were."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toolhost_processes import TOOLHOST

from gateway.sandbox.errors import ToolhostError


async def test_output_exit_code_and_both_streams_arrive(running: Any) -> None:
    code, out, err = await running.shell("echo out; echo err >&2; exit 7")
    assert (code, out, err) == (7, b"out\n", b"err\n")


async def test_bytes_that_are_no_text_arrive_unchanged(running: Any) -> None:
    wanted = bytes(range(256)) * 40
    (running.root / "blob").write_bytes(wanted)
    assert await running.shell("cat blob") == (0, wanted, b"")


async def test_64_mib_arrive_intact(running: Any) -> None:
    script = "import os,hashlib\nd=os.urandom(1<<20)*64\nos.write(2,hashlib.sha256(d).hexdigest().encode())\n"
    script += "v=memoryview(d)\nwhile v: v=v[os.write(1,v):]"
    process = await running.start("python3", "-c", script)
    digest, size, told = hashlib.sha256(), 0, b""
    async for fd, chunk in process.output():
        if fd == 1:
            digest.update(chunk)
            size += len(chunk)
        else:
            told += chunk
    assert size == 64 << 20
    assert digest.hexdigest().encode() == told
    assert (await process.wait()).output_bytes == size + len(told)


async def test_a_signal_is_reported_as_one(running: Any) -> None:
    process = await running.start("sh", "-c", "kill -9 $$")
    ended = await process.wait()
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)


async def test_a_sent_signal_reaches_the_process_group(running: Any) -> None:
    process = await running.start("sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; sleep 60 & wait")
    out = b""
    async for _, chunk in process.output():
        out += chunk
        if out == b"ready\n":
            await process.signal(signal.SIGTERM)
    assert out == b"ready\ngot\n"
    assert (await process.wait()).code == 5


async def test_input_is_delivered_and_ended(running: Any) -> None:
    wanted = bytes(range(256)) * 12_000
    process = await running.start("cat", stdin=True)
    writing = asyncio.create_task(process.write_stdin(wanted, eof=True))
    out = b"".join([chunk async for _, chunk in process.output()])
    await writing
    assert out == wanted


async def test_input_nobody_reads_is_refused_not_lost(running: Any) -> None:
    process = await running.start("sh", "-c", "exec 0<&-; echo closed; sleep 60", stdin=True)
    async for _, chunk in process.output():
        assert chunk == b"closed\n"
        with pytest.raises(ToolhostError) as refused:
            await process.write_stdin(b"x")
        assert refused.value.reason == "invalid"
        await process.kill()


async def test_programs_start_with_an_empty_input_and_default_signals(running: Any) -> None:
    code, out, _ = await running.shell("cat; grep -E 'SigIgn|SigBlk' /proc/self/status")
    assert code == 0
    masks = [int(line.split()[1], 16) for line in out.decode().splitlines()]
    # The C library ignores its own two internal signals, 32 and 33, in every program it spawns.
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]


async def test_programs_inherit_no_descriptor(running: Any) -> None:
    _, out, _ = await running.shell("ls /proc/$$/fd")
    assert {int(name) for name in out.split()} <= {0, 1, 2, 10}  # 10: the shell's own script


async def test_the_environment_is_laid_over_the_sandbox_s_own(running: Any) -> None:
    environment = {"SAID": "yes", "LANG": None}
    _, out, _ = await running.shell('echo "$SAID|$LANG|$BULKHEAD_TOOLHOST|${PATH:+path}"', env=environment)
    assert out == b"yes|||path\n"


async def test_a_command_longer_than_a_header_works(running: Any) -> None:
    long = "x" * 100_000
    process = await running.start("printf", "%s", long)
    assert b"".join([chunk async for _, chunk in process.output()]) == long.encode()


async def test_the_report_descriptor_comes_back_with_the_exit(running: Any) -> None:
    process = await running.start("sh", "-c", "cd /usr/bin && pwd >&9", report=True)
    assert (await process.wait()).report == "/usr/bin\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "reason"),
    [
        (["no-such-program"], ".", "not_found"),
        (["./no-such-file"], ".", "not_found"),
        (["./plain"], ".", "permission"),
        (["./broken"], ".", "invalid"),
        (["true"], "missing", "not_found"),
        (["true"], "plain", "not_a_directory"),
        (["a\0b"], ".", "invalid"),
        ([""], ".", "invalid"),
    ],
)
async def test_what_cannot_start_is_refused_with_a_reason(running: Any, argv: list[str], cwd: str, reason: str) -> None:
    (running.root / "plain").write_text("text")
    (running.root / "plain").chmod(0o644)
    (running.root / "broken").write_text("not a program")
    (running.root / "broken").chmod(0o755)
    with pytest.raises(ToolhostError) as refused:
        await running.host.spawn(argv, cwd=running.path(cwd))
    assert refused.value.reason == reason
    assert (await running.shell("echo alive"))[1] == b"alive\n"


async def test_two_hundred_programs_at_once(running: Any) -> None:
    async def one(number: int) -> bytes:
        return (await running.shell(f"echo {number}"))[1]

    assert await asyncio.gather(*[one(n) for n in range(200)]) == [f"{n}\n".encode() for n in range(200)]


async def test_a_call_nobody_reads_stalls_no_other(running: Any) -> None:
    flood = await running.start("sh", "-c", "yes | head -c 20000000; echo done >&2")
    assert (await running.shell("echo quick"))[1] == b"quick\n"
    health = await running.host.health()
    assert health.calls == 1
    total = sum([len(chunk) async for fd, chunk in flood.output() if fd == 1])
    assert total == 20_000_000


async def test_waiting_alone_lets_a_talkative_program_end(running: Any) -> None:
    process = await running.start("sh", "-c", "yes | head -c 5000000; exit 3")
    ended = await process.wait()
    assert (ended.code, ended.output_bytes) == (3, 5_000_000)


async def test_what_a_descendant_keeps_open_does_not_delay_the_exit(running: Any) -> None:
    process = await running.start("sh", "-c", "sleep 300 & echo $!")
    out = b"".join([chunk async for _, chunk in process.output()])
    assert (await process.wait()).code == 0
    assert Path(f"/proc/{int(out)}").exists()
    calls = await running.host.calls()
    assert [(c.call, c.running, c.processes) for c in calls] == [(process.call, False, 1)]
    assert (await process.kill()).killed == 1


async def test_background_output_goes_to_a_file_up_to_its_limit(running: Any) -> None:
    script = "echo first; yes | head -c 100000; echo last >&2"
    process = await running.start("sh", "-c", script, output_path=running.path("log/job.txt"), file_limit=5000)
    ended = await process.wait()
    written = (running.root / "log" / "job.txt").read_bytes()
    assert (ended.code, ended.truncated, ended.output_bytes) == (0, True, 5000)
    assert len(written) == 5000
    assert written.startswith(b"first\ny\ny\n")


async def test_a_cancelled_spawn_leaves_no_program(running: Any) -> None:
    task = asyncio.create_task(running.start("sleep", "300"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while (await running.host.health()).processes:
            await asyncio.sleep(0.005)


async def test_a_call_name_is_used_once(running: Any) -> None:
    await (await running.start("true", call="again")).wait()
    with pytest.raises(ToolhostError) as refused:
        await running.start("true", call="again")
    assert refused.value.reason == "exists"


async def test_orphans_are_reaped(running: Any) -> None:
    await running.shell("for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'exit 0' &) ; done")
    pid = running.process.pid

    def zombies() -> int:
        count = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            count += fields[0] == "Z" and int(fields[1]) == pid
        return count

    async with asyncio.timeout(10):
        while zombies() or (await running.host.health()).processes:
            await asyncio.sleep(0.005)


def test_a_spawn_waits_a_moment_for_the_places_of_what_was_just_killed() -> None:
    """Ended processes count against the limit until they are collected."""
    script = f"""
import sys; sys.path.insert(0, {str(TOOLHOST)!r})
import errno, os, spawn
reaped, full = [], [3]
real = os.posix_spawn
def crowded(*given, **more):
    if full[0] > len(reaped):
        raise BlockingIOError(errno.EAGAIN, "full")
    return real(*given, **more)
os.posix_spawn = crowded
out = os.open("/dev/null", os.O_WRONLY)
pid, _ = spawn.Spawner(lambda: reaped.append(1)).spawn(["true"], {{}}, "/", -1, out, out, -1)
assert os.waitpid(pid, 0)[1] == 0 and len(reaped) == 3
full[0] = 1000
try:
    spawn.Spawner(lambda: None).spawn(["true"], {{}}, "/", -1, out, out, -1)
except spawn.Refusal as refusal:
    print(refusal.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "limit"), done.stderr
