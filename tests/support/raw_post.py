"""A request on a bare connection, for clients that break it off at a moment of their own."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import httpx

from tests.support.messages_api import Caller, Json

__all__ = ["raw_post"]

ANSWER_SECONDS = 60.0


@contextlib.contextmanager
def raw_post(caller: Caller, body: Json) -> Iterator[socket.socket]:
    """The connection, with the whole request sent; closed at the block's end, whatever has come by then."""
    data = json.dumps(body).encode()
    head = [f"{name}: {value}" for name, value in caller.headers(content_length=str(len(data))).items()]
    lines = ["POST /v1/messages HTTP/1.1", "host: gateway", *head, "", ""]
    address = ("127.0.0.1", httpx.URL(caller.url).port or 0)
    with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
        connection.sendall("\r\n".join(lines).encode() + data)
        yield connection
