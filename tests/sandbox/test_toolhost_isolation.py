"""A program in the sandbox, under the toolhost's own uid, cannot read, steer, stop or replace the toolhost."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

ATTACKS = """
import ctypes, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
seen = {}
for name in ("mem", "environ", "fd", "fd/0", "fd/1", "cwd", "root", "exe", "maps", "stack", "syscall"):
    try:
        path = "/proc/1/" + name
        if name == "fd":
            os.listdir(path)
        elif name in ("cwd", "root", "exe"):
            os.readlink(path)
        elif name == "mem":
            open(path, "r+b").read(1)
        else:
            open(path, "rb").read(1)
        seen[name] = "open"
    except OSError:
        seen[name] = "closed"
for name, request in (("attach", 16), ("seize", 0x4206)):
    seen[name] = "closed" if libc.ptrace(request, 1, None, None) == -1 else "open"
buffer = ctypes.create_string_buffer(8)
class Vec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
local, remote = Vec(ctypes.addressof(buffer), 8), Vec(0x400000, 8)
taken = libc.process_vm_readv(1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
seen["process_vm_readv"] = "closed" if taken == -1 else "open"
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
print(seen)
"""


async def test_the_toolhost_cannot_be_read_traced_or_signalled(jailed: Any) -> None:
    code, out, err = await jailed.shell(f"exec python3 -c '{ATTACKS.replace(chr(39), chr(34))}'")
    assert (code, err) == (0, b"")
    seen = ast.literal_eval(out.decode())
    assert {name for name, state in seen.items() if state != "closed"} == set()
    await jailed.host.ping()
    assert (await jailed.shell("echo alive"))[1] == b"alive\n"


async def test_the_toolhost_is_the_init_of_its_sandbox(jailed: Any) -> None:
    _, out, _ = await jailed.shell("cat /proc/1/comm; id -u; echo $PPID")
    assert out.split()[1:] == [b"10001", b"1"]


async def test_programs_die_before_the_toolhost_when_memory_is_short(jailed: Any) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    # The program looks only when the toolhost has answered a request after the spawn.
    process = await jailed.start("sh", "-c", "read go; cat /proc/self/oom_score_adj /proc/1/oom_score_adj", stdin=True)
    await process.write_stdin(b"\n")
    out = b"".join([chunk async for _, chunk in process.output()])
    assert [int(score) for score in out.split()] == [max(own, 500), own]


async def test_programs_never_see_the_toolhost_s_configuration(jailed: Any) -> None:
    _, out, _ = await jailed.shell("env")
    assert b"BULKHEAD" not in out
