"""An upstream that answers with the very bytes a test gives it, and keeps the very bytes that it was sent.

For what must not be changed on the way, and for answers that wait until the test lets them go on. Speaks one
request a connection; knows nothing of the Messages API but its path.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Canned", "CannedUpstream", "Seen", "canned_upstream", "event", "streamed", "whole"]

HELD_SECONDS = 60.0
"""The longest an answer waits for its test."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Canned:
    """An answer. Its head waits for `head`, its piece number `at` (from 0) for `gate`, where they are given; an
    answer that is `cut` ends its connection instead of its body."""

    pieces: Sequence[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    head: threading.Event | None = None
    gate: threading.Event | None = None
    at: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as it came; header names in small letters. `left`: its client went before the answer's end."""

    headers: Mapping[str, str]
    body: bytes
    left: threading.Event


class CannedUpstream:
    """Answers `/v1/messages` with `answer`, or with what `answers` has for a word that stands in the body."""

    def __init__(self) -> None:
        self.answer = Canned([])
        self.answers: dict[str, Canned] = {}
        self.seen: list[Seen] = []
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def asked(self, word: str = "") -> list[Seen]:
        """The requests so far whose body has this word."""
        return [one for one in self.seen if word.encode() in one.body]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, connection: socket.socket) -> None:
        head, headers, body = _read(connection)
        if not head.startswith("POST /v1/messages "):
            missing = b'{"type":"error","error":{"type":"not_found_error","message":"Not found"}}'
            _send(connection, Canned([missing], 404, "application/json"), threading.Event())
            return
        seen = Seen(headers, body, threading.Event())
        answer = next((one for word, one in self.answers.items() if word.encode() in body), self.answer)
        self.seen.append(seen)
        try:
            _send(connection, answer, seen.left)
        except OSError:
            seen.left.set()


@contextlib.contextmanager
def canned_upstream() -> Iterator[CannedUpstream]:
    """Serving for a block."""
    upstream = CannedUpstream()
    try:
        yield upstream
    finally:
        upstream.stop()


def event(name: str, data: str) -> bytes:
    """An event with this very data."""
    return f"event: {name}\ndata: {data}\n\n".encode()


def streamed(text: str, *, model: str = "claude-test", tokens: int = 7) -> list[bytes]:
    """A plain answer as the events of a stream."""
    start = {
        "type": "message_start",
        "message": {
            "id": "msg_of_the_upstream",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        },
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    datas: list[Json] = [
        start,
        block,
        delta,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": tokens}},
        {"type": "message_stop"},
    ]
    return [event(data["type"], json.dumps(data, separators=(",", ":"))) for data in datas]


def whole(text: str, *, model: str = "claude-test", tokens: int = 7) -> bytes:
    """The same answer as one object."""
    message = {
        "id": "msg_of_the_upstream",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": tokens},
    }
    return json.dumps(message).encode()


def _read(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    while len(body) < int(headers.get("content-length", "0")):
        body += _some(connection)
    return first, headers, body


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionResetError("the client left in its request")
    return piece


def _send(connection: socket.socket, answer: Canned, left: threading.Event) -> None:
    _wait(connection, answer.head, left)
    lines = [
        f"HTTP/1.1 {answer.status} Canned",
        f"content-type: {answer.content_type}",
        "connection: close",
        "transfer-encoding: chunked",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    for number, piece in enumerate(answer.pieces):
        if number == answer.at:
            _wait(connection, answer.gate, left)
        connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    if not answer.cut:
        connection.sendall(b"0\r\n\r\n")


def _wait(connection: socket.socket, gate: threading.Event | None, left: threading.Event) -> None:
    """Until the gate opens; a client that goes meanwhile is noted."""
    if gate is None:
        return
    rounds = int(HELD_SECONDS / 0.02)
    for _ in range(rounds):
        if gate.wait(0.02):
            return
        if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
            left.set()
            raise ConnectionResetError("the client left while it waited")
