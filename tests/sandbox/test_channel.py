"""The channel against a scripted toolhost: order, time-outs, cancellation, and every kind of lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.sandbox.channel import Channel
from gateway.sandbox.errors import ChannelBroken, SandboxGone, ToolhostError, ToolhostTimeout
from gateway.sandbox.stream import ByteStream, MemoryStream, memory_pair
from gateway.sandbox.toolhost import Toolhost

HELLO = {"version": 1, "pid": 1, "nonce": "ab" * 16, "python": "3.11.2", "limits": {}}


class Scripted:
    """The other end: reads requests, says what it is told to say."""

    def __init__(self) -> None:
        self.ours, self.theirs = memory_pair()
        self.channel = Channel(self.attach)
        self.attached = 0
        self._seq = 0
        self._received = 0
        self._buffer = b""

    async def attach(self) -> ByteStream:
        self.attached += 1
        if self.attached > 1:
            raise SandboxGone("it does not come back")
        return self.ours

    async def greet(self, **changes: Any) -> Toolhost:
        self.say({"method": "hello", "params": {**HELLO, **changes}})
        toolhost = Toolhost(self.channel)
        await self.channel.start(5)
        return toolhost

    def raw(self, data: bytes) -> None:
        self.theirs.write(data)

    def say(self, message: dict[str, Any], payload: bytes = b"", **changes: Any) -> None:
        self._seq += 1
        header = {"jsonrpc": "2.0", "seq": self._seq, "ack": self._received, **message, **changes}
        body = json.dumps(header).encode()
        self.raw(len(body).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + body + payload)

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """The next numbered request or notification."""
        while True:
            frame = await self._frame()
            if frame[0]["seq"]:
                self._received = frame[0]["seq"]
                return frame

    async def _frame(self) -> tuple[dict[str, Any], bytes]:
        while True:
            if len(self._buffer) >= 8:
                head, body = int.from_bytes(self._buffer[:4], "big"), int.from_bytes(self._buffer[4:8], "big")
                if len(self._buffer) >= 8 + head + body:
                    data, self._buffer = self._buffer[8 : 8 + head + body], self._buffer[8 + head + body :]
                    return json.loads(data[:head]), data[head:]
            data = await asyncio.wait_for(self.theirs.read(), 5)
            assert data, "the channel was closed"
            self._buffer += data


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    other = Scripted()
    yield other
    await other.channel.aclose()


async def test_answers_find_their_calls_in_any_order(scripted: Scripted) -> None:
    await scripted.greet()
    first = asyncio.create_task(scripted.channel.call("a", {}))
    second = asyncio.create_task(scripted.channel.call("b", {}, b"body"))
    a, _ = await scripted.hear()
    b, payload = await scripted.hear()
    assert (a["method"], b["method"], payload) == ("a", "b", b"body")
    scripted.say({"id": b["id"], "result": {"n": 2}}, b"two")
    scripted.say({"id": a["id"], "result": {"n": 1}})
    assert ((await first).result, (await second).payload) == ({"n": 1}, b"two")


async def test_a_refusal_carries_its_reason_and_facts(scripted: Scripted) -> None:
    await scripted.greet()
    call = asyncio.create_task(scripted.channel.call("a", {}))
    request, _ = await scripted.hear()
    data = {"reason": "ambiguous", "count": 3}
    scripted.say({"id": request["id"], "error": {"code": -32000, "message": "no", "data": data}})
    with pytest.raises(ToolhostError) as refused:
        await call
    assert (refused.value.reason, refused.value.data["count"]) == ("ambiguous", 3)


async def test_a_call_never_answered_times_out_and_its_late_answer_is_dropped(scripted: Scripted) -> None:
    await scripted.greet()
    with pytest.raises(ToolhostTimeout):
        await scripted.channel.call("a", {}, timeout=0.01)
    late, _ = await scripted.hear()
    scripted.say({"id": late["id"], "result": {}})
    call = asyncio.create_task(scripted.channel.call("b", {}))
    request, _ = await scripted.hear()
    scripted.say({"id": request["id"], "result": {"ok": 1}})
    assert (await call).result == {"ok": 1}


async def test_a_cancelled_call_leaves_the_channel_intact(scripted: Scripted) -> None:
    await scripted.greet()
    call = asyncio.create_task(scripted.channel.call("a", {}))
    cancelled, _ = await scripted.hear()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    scripted.say({"id": cancelled["id"], "result": {}})
    other = asyncio.create_task(scripted.channel.call("b", {}))
    request, _ = await scripted.hear()
    scripted.say({"id": request["id"], "result": {}})
    await other


async def test_a_silent_toolhost_fails_the_start_in_time() -> None:
    other = Scripted()
    with pytest.raises(ToolhostTimeout):
        await other.channel.start(0.01)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"nonce": "zz"}, {"nonce": "ab"}, {"pid": "1"}, {"extra": 1}, {"limits": [1]}],
    ids=str,
)
async def test_a_wrong_hello_breaks_the_channel(change: dict[str, Any]) -> None:
    other = Scripted()
    with pytest.raises(ChannelBroken):
        await other.greet(**change)


def _frame(header: bytes, payload: bytes = b"") -> bytes:
    return len(header).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + header + payload


LIES = {
    "not json": _frame(b"nonsense"),
    "not an object": _frame(b"[1]"),
    "not utf-8": _frame(b'{"seq":2,"ack":0,"method":"\xff"}'),
    "header too large": (70_000).to_bytes(4, "big") + bytes(4),
    "payload too large": bytes(4) + (9 << 20).to_bytes(4, "big"),
    "no seq": _frame(b'{"ack":0,"method":"process.exit"}'),
    "seq of a wrong type": _frame(b'{"seq":"2","ack":0}'),
    "negative seq": _frame(b'{"seq":-1,"ack":0}'),
    "gap": _frame(b'{"seq":3,"ack":0,"id":1,"result":{}}'),
    "ack of the future": _frame(b'{"seq":0,"ack":99}'),
    "unknown field": _frame(b'{"seq":2,"ack":0,"id":1,"result":{},"surprise":1}'),
    "unknown id": _frame(b'{"seq":2,"ack":1,"id":77,"result":{}}'),
    "result and error": _frame(b'{"seq":2,"ack":1,"id":1,"result":{},"error":{"code":1,"message":""}}'),
    "neither": _frame(b'{"seq":2,"ack":1,"id":1}'),
    "empty frame": _frame(b'{"seq":2,"ack":1}'),
    "a second hello": _frame(b'{"seq":2,"ack":1,"method":"hello","params":{}}'),
    "unknown notification": _frame(b'{"seq":2,"ack":1,"method":"surprise","params":{}}'),
    "unexpected resumed": _frame(b'{"seq":0,"ack":1,"method":"resumed"}'),
    "output of nobody": _frame(b'{"seq":2,"ack":1,"method":"process.output","params":{"call":"x","fd":1}}', b"y"),
    "exit of nobody": _frame(
        b'{"seq":2,"ack":1,"method":"process.exit","params":{"call":"x","code":0,"signal":null,'
        b'"report":null,"output_bytes":0,"truncated":false}}'
    ),
    "deep nesting": _frame(b'{"seq":2,"ack":1,"id":1,"result":{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}}"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_every_lie_closes_the_channel_and_fails_who_waits(scripted: Scripted, lie: bytes) -> None:
    await scripted.greet()
    call = asyncio.create_task(scripted.channel.call("a", {}))
    await scripted.hear()
    scripted.raw(lie)
    with pytest.raises(ChannelBroken):
        await asyncio.wait_for(call, 5)
    assert isinstance(await asyncio.wait_for(scripted.channel.wait_broken(), 5), ChannelBroken)
    with pytest.raises(ChannelBroken):
        await scripted.channel.call("b", {})
    assert scripted.attached == 1
    while await asyncio.wait_for(scripted.theirs.read(), 5):
        pass


async def _spawned(scripted: Scripted, toolhost: Toolhost) -> Any:
    spawning = asyncio.create_task(toolhost.spawn(["x"], cwd="/", call="c"))
    request, _ = await scripted.hear()
    scripted.say({"id": request["id"], "result": {"pid": 5}})
    return await spawning


@pytest.mark.parametrize("sizes", [[0], [200_000, 62_145], [300_000]], ids=str)
async def test_output_beyond_the_credit_breaks_the_channel(scripted: Scripted, sizes: list[int]) -> None:
    toolhost = await scripted.greet()
    process = await _spawned(scripted, toolhost)
    for size in sizes:
        scripted.say({"method": "process.output", "params": {"call": "c", "fd": 1}}, bytes(size))
    await asyncio.wait_for(scripted.channel.wait_broken(), 5)
    with pytest.raises(ChannelBroken):
        await process.wait()


async def test_credit_is_given_back_as_output_is_read(scripted: Scripted) -> None:
    toolhost = await scripted.greet()
    process = await _spawned(scripted, toolhost)
    scripted.say({"method": "process.output", "params": {"call": "c", "fd": 1}}, bytes(100_000))
    async for _ in process.output():
        break
    granted, _ = await scripted.hear()
    assert (granted["method"], granted["params"]) == ("process.credit", {"call": "c", "bytes": 100_000})


@pytest.mark.parametrize(
    ("result", "payload"),
    [({}, b""), ({"count": "1", "truncated": False}, b"[]"), ({"count": 2, "truncated": False}, b'["one"]')],
    ids=["empty", "wrong type", "wrong count"],
)
async def test_a_result_of_the_wrong_shape_breaks_the_channel(
    scripted: Scripted, result: dict[str, Any], payload: bytes
) -> None:
    toolhost = await scripted.greet()
    call = asyncio.create_task(toolhost.glob("*", "/w"))
    request, _ = await scripted.hear()
    scripted.say({"id": request["id"], "result": result}, payload)
    with pytest.raises(ChannelBroken):
        await call
    assert scripted.channel.failure is not None


async def test_output_and_exit_after_the_exit_are_lies(scripted: Scripted) -> None:
    toolhost = await scripted.greet()
    process = await _spawned(scripted, toolhost)
    ended = {"call": "c", "code": 0, "signal": None, "report": None, "output_bytes": 0, "truncated": False}
    scripted.say({"method": "process.exit", "params": ended})
    assert (await process.wait()).code == 0
    scripted.say({"method": "process.exit", "params": ended})
    assert isinstance(await asyncio.wait_for(scripted.channel.wait_broken(), 5), ChannelBroken)


async def test_the_end_of_the_stream_fails_every_waiting_call_at_once(scripted: Scripted) -> None:
    await scripted.greet()
    calls = [asyncio.create_task(scripted.channel.call("a", {})) for _ in range(20)]
    await scripted.hear()
    await scripted.theirs.aclose()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert all(isinstance(result, SandboxGone) for result in results)


async def test_closing_fails_waiting_calls_and_leaves_no_task(scripted: Scripted) -> None:
    await scripted.greet()
    call = asyncio.create_task(scripted.channel.call("a", {}))
    await scripted.hear()
    await scripted.channel.aclose()
    with pytest.raises(SandboxGone):
        await call
    await scripted.channel.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_is_received_is_acknowledged(scripted: Scripted) -> None:
    toolhost = await scripted.greet()
    await _spawned(scripted, toolhost)
    acknowledged = 0
    while acknowledged < 2:
        frame, _ = await scripted._frame()
        acknowledged = frame["ack"]
    assert acknowledged == 2


async def test_a_request_over_the_frame_limits_is_refused_before_it_is_sent(scripted: Scripted) -> None:
    await scripted.greet()
    with pytest.raises(ValueError, match="limits"):
        await scripted.channel.call("a", {"x": "y" * 70_000})
    call = asyncio.create_task(scripted.channel.call("b", {}))
    request, _ = await scripted.hear()
    scripted.say({"id": request["id"], "result": {}})
    await call


async def test_memory_streams_end_on_both_sides() -> None:
    left, right = memory_pair()
    left.write(b"x")
    await left.aclose()
    assert (await right.read(), await right.read(), await left.read()) == (b"x", b"", b"")
    assert isinstance(left, MemoryStream)
