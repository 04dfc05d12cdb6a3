"""A model service that costs next to nothing: prepared answers over a bare protocol, so that others' cost shows.

    python -m benchmarks.forwarding.lean_upstream

It answers `POST /v1/messages` with one text, streamed if the body asks for it, and takes words in the body:
`PACED-n` sends n deltas 10 ms apart, each with the moment it was sent (`@ns@` of the monotonic clock), and
`BURST-n` n of them as fast as they are taken. Anything else asked for gets a 404.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import httptools
import uvloop

__all__ = ["PACE_SECONDS", "STAMP", "ModelConnection", "main"]

PACE_SECONDS = 0.01
STAMP = re.compile(rb"@(\d{6,20})@")
DELTAS = 64
EVENTS_AT_ONCE = 500

_PACED, _BURST_OF = b"PACED-", b"BURST-"
_COUNT = re.compile(rb"\d{1,6}")
_STREAMS = (b'"stream":true', b'"stream": true')
_TEXT = " ".join(["A plain answer of some length, as a model gives it."] * 12)
_USAGE = {
    "input_tokens": 20,
    "output_tokens": 150,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "service_tier": "standard",
}
_MESSAGE: dict[str, Any] = {
    "id": "msg_01benchmark",
    "type": "message",
    "role": "assistant",
    "model": "claude-benchmark-1",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": _USAGE,
}


def _event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def _delta(text: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


_OPENING = b"".join(
    (
        _event("message_start", message=_MESSAGE),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("ping"),
    )
)
_ENDING = b"".join(
    (
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=_USAGE),
        _event("message_stop"),
    )
)
_WORDS = [_TEXT[at : at + len(_TEXT) // DELTAS + 1] for at in range(0, len(_TEXT), len(_TEXT) // DELTAS + 1)]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: str, kind: str, extra: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nrequest-id: req_bench\r\n{extra}\r\n\r\n".encode()


def _whole(status: str, value: Mapping[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return _head(status, "application/json", f"content-length: {len(body)}") + body


_STREAM_HEAD = _head(
    "200 OK", "text/event-stream; charset=utf-8", "cache-control: no-cache\r\ntransfer-encoding: chunked"
)
_LAST_CHUNK = b"0\r\n\r\n"
_BURST = b"".join(
    (_STREAM_HEAD, _chunk(_OPENING), *(_chunk(_delta(word)) for word in _WORDS), _chunk(_ENDING), _LAST_CHUNK)
)
_ANSWER = _whole("200 OK", {**_MESSAGE, "content": [{"type": "text", "text": _TEXT}], "stop_reason": "end_turn"})
_NOT_HERE = _whole("404 Not Found", {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}})


class ModelConnection(asyncio.Protocol):
    """One client's connection; answers in turn."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, body = self._path, b"".join(self._body)
        self._path = b""
        self._body.clear()
        assert self._transport is not None
        if not path.startswith(b"/v1/messages") or b"count_tokens" in path:
            self._transport.write(_NOT_HERE)
        elif not any(mark in body for mark in _STREAMS):
            self._transport.write(_ANSWER)
        elif (count := _count(body, _PACED)) is not None:
            self._task = asyncio.get_running_loop().create_task(self._send(_paced(count)))
        elif (count := _count(body, _BURST_OF)) is not None:
            self._task = asyncio.get_running_loop().create_task(self._send(_unpaced(count)))
        else:
            self._transport.write(_BURST)

    async def _send(self, deltas: AsyncIterator[bytes]) -> None:
        self._write(_STREAM_HEAD + _chunk(_OPENING))
        async for piece in deltas:
            await self._writable.wait()
            self._write(_chunk(piece))
        self._write(_chunk(_ENDING) + _LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _count(body: bytes, word: bytes) -> int | None:
    at = body.find(word)
    found = _COUNT.match(body, at + len(word)) if at >= 0 else None
    return int(found[0]) if found else None


async def _paced(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(PACE_SECONDS)
        yield _delta(f"@{time.monotonic_ns()}@")


async def _unpaced(count: int) -> AsyncIterator[bytes]:
    piece = _delta(_WORDS[0])
    for at in range(0, count, EVENTS_AT_ONCE):
        yield piece * min(EVENTS_AT_ONCE, count - at)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    server = await loop.create_server(ModelConnection, "127.0.0.1", 0)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await told.wait()
    server.close()


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
