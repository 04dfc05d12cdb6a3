"""The raw attached stream of a container: the engine's connection after it stopped speaking HTTP.

The stream is handed on as a descriptor; nothing here reads a byte of it. It must not know who gets it.
"""

import socket

from gateway.broker.errors import Refused

__all__ = ["hijack"]

MAX_HEAD = 16 * 1024
HEAD_END = b"\r\n\r\n"


def hijack(engine_socket: str, api_version: str, container: str, *, time_limit: float) -> socket.socket:
    """Attach to stdin, stdout and stderr of `container`.

    Returns the connection right after the answer "101", not one byte of the stream consumed. Raises
    `Refused` ("not_found", "engine") when the engine says no, breaks off, or takes longer than `time_limit`
    seconds a step.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(time_limit)
        connection.connect(engine_socket)
        connection.sendall(
            f"POST /v{api_version}/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
            "Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode("ascii")
        )
        head = _read_head(connection)
    except OSError as error:
        connection.close()
        raise Refused("engine", f"the engine broke off the attach: {error}") from error
    except Refused:
        connection.close()
        raise
    status = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) < 2 or status[1] != b"101":
        connection.close()
        code = status[1].decode("ascii", "replace") if len(status) > 1 else "nothing"
        raise Refused("not_found" if code == "404" else "engine", f"the engine answered {code} to the attach")
    return connection


def _read_head(connection: socket.socket) -> bytes:
    """Look first, take after: what follows the head belongs to the stream."""
    head = b""
    while True:
        seen = connection.recv(MAX_HEAD, socket.MSG_PEEK)
        if not seen:
            raise Refused("engine", "the engine closed the attach")
        end = (head + seen).find(HEAD_END)
        if end >= 0:
            return head + connection.recv(end + len(HEAD_END) - len(head))
        head += connection.recv(len(seen))
        if len(head) > MAX_HEAD:
            raise Refused("engine", "the engine's answer to the attach has no end")
