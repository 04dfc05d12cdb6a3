"""A small HTTP/1.1 server of the test's own, for answers that the scripted upstream would never give.

Each request is answered by what `answer(request)` returns: bytes as they go on the wire, or a list of bytes and
`GATE`, which waits until the test opens the gate. The connection stays open unless a `CLOSE` says otherwise.
"""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

GATE = "gate"
CLOSE = "close"
RESET = "reset"

WAIT = 20.0


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = bytes | Sequence[bytes | str]


@dataclass
class Answering:
    answer: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> "Answering":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self.gate.set()
        self._server.close()
        await self.until(lambda: self.open == 0)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not condition():
                await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *fields = head.strip().split("\r\n")
                method, target, _ = line.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.asked.append(Asked(method, target, headers, body, number))
                if not await self._say(self.answer(self.asked[-1]), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _say(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        for part in [answer] if isinstance(answer, bytes) else answer:
            if part == GATE:
                await self.gate.wait()
            elif part == CLOSE:
                return False
            elif part == RESET:
                writer.transport.abort()
                return False
            else:
                assert isinstance(part, bytes)
                writer.write(part)
                await writer.drain()
        return True


def answered(status: int, body: bytes | dict[str, Any] | list[Any], **headers: str) -> bytes:
    """A whole answer with its length. Header names are spelt with underscores."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers.setdefault("content_type", "application/json")
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(encoded)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + encoded


def zipped(status: int, body: bytes, **headers: str) -> bytes:
    """The same, compressed although nobody asked for it."""
    return answered(status, gzip.compress(body), content_encoding="gzip", **headers)


def chunked(*pieces: bytes, content_type: str = "text/event-stream", end: bool = True) -> list[bytes]:
    """A head, then each piece as a chunk of its own, then the end."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return [head, *parts, *([b"0\r\n\r\n"] if end else [])]


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


EVENTS = [
    event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                                    "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}),
    event("ping"),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "é😀"}),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
    event("message_stop"),
]  # fmt: skip
"""A short answer that is right."""

AnsweringStarter = Callable[[Callable[[Asked], Answer]], Awaitable[Answering]]
"""The fixture `answering`."""
