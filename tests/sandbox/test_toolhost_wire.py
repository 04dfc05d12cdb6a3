"""The toolhost against a gateway that breaks the contract: it dies at once, with everything it started."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from toolhost_processes import TOOLHOST, plain_command


def _frame(header: object, payload: bytes = b"") -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(body).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + body + payload


def _numbered(seq: int = 2, **rest: Any) -> bytes:
    return _frame({"jsonrpc": "2.0", "seq": seq, "ack": 1, **rest})


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "header too large": (1 << 20).to_bytes(4, "big") + bytes(4),
    "payload too large": bytes(4) + (1 << 30).to_bytes(4, "big"),
    "not json": _frame(b"{oops"),
    "an array": _frame([1]),
    "trailing bytes": _frame(b"{} {}"),
    "no seq": _frame({"ack": 0}),
    "gap": _numbered(9, id=1, method="ping"),
    "ack of the future": _frame({"seq": 2, "ack": 999, "id": 1, "method": "ping"}),
    "no method": _numbered(id=1),
    "an id that is no number": _numbered(id="1", method="ping"),
    "unknown notification": _numbered(method="ping"),
    "unknown field": _numbered(id=1, method="ping", surprise=True),
    "params of a wrong type": _numbered(id=1, method="ping", params=[1]),
    "bad credit": _numbered(method="process.credit", params={"call": "x", "bytes": -1}),
    "resume without a marker": _frame({"seq": 0, "ack": 1, "id": 1, "method": "resume"}),
    "deep nesting": _frame(b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_malformed_frame_ends_the_toolhost(running: Any, garbage: bytes) -> None:
    await running.host.ping()
    running.channel._stream.write(garbage)
    assert await asyncio.wait_for(running.process.wait(), 10) == 70
    assert (await running.stderr()).startswith("toolhost: ")


async def test_the_end_of_input_ends_every_program(running: Any) -> None:
    process = await running.start("sh", "-c", "trap '' TERM HUP; echo ready; while :; do sleep 1; done")
    async for _ in process.output():
        break
    assert Path(f"/proc/{process.pid}").exists()
    await running.channel.aclose()
    assert await asyncio.wait_for(running.process.wait(), 10) == 0
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"roots":[]}', '{"roots":["relative"]}', "{"])
async def test_a_toolhost_without_proper_roots_does_not_start(config: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *plain_command(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"BULKHEAD_TOOLHOST": config},
    )
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out) == (64, b"")
    assert b"BULKHEAD_TOOLHOST" in err


async def test_start_up_imports_nothing_heavy() -> None:
    script = f"import sys; sys.path.insert(0, {str(TOOLHOST)!r}); import main; print(*sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(*plain_command()[:-1], "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    heavy = {"asyncio", "subprocess", "typing", "re", "json", "enum", "signal", "ctypes", "dataclasses", "threading"}
    assert heavy.isdisjoint(out.decode().split())
