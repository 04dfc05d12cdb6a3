"""The broker's unix socket: who may speak, one request per connection, descriptors passed with the answer.

Plain threads: the engine's calls block, eight at a time is what an engine does well, and a broker that can
be read in one sitting is worth more than a fast one. It must not know what the verbs mean.
"""

import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gateway.broker.errors import Refused
from gateway.broker.service import Answer, Broker
from gateway.broker.wire import ACKNOWLEDGED, MAX_REQUEST, decode_request, encode_answer

__all__ = ["Server"]

WORKERS = 8
WAITING = 256
"""Connections being served or waiting for a worker; one more is refused as busy."""

REQUEST_SECONDS = 5.0
"""For a caller to write its request, take its answer, or acknowledge it."""

ACCEPT_SECONDS = 0.5


class Server:
    """Serves a `Broker` on a unix socket until `stop` is called (from any thread or a signal handler), or
    until the descriptor `until_eof` is at its end: the parent that held the other end is gone, and with it
    whoever could want what is left, which is removed.
    """

    def __init__(
        self, broker: Broker, path: Path, *, mode: int = 0o600, uids: Collection[int] = (), until_eof: int | None = None
    ) -> None:
        self._broker = broker
        self._path = path
        self._mode = mode
        self._uids = frozenset(uids) | {os.geteuid()}
        self._until_eof = until_eof
        self._stopping = threading.Event()
        self.listening = threading.Event()
        """Set while connections are taken."""
        self._room = threading.BoundedSemaphore(WAITING)
        self._log_lock = threading.Lock()

    def stop(self) -> None:
        self._stopping.set()

    def serve(self) -> None:
        """Listen, serve, and remove the socket at the end. Raises OSError when another broker lives there."""
        listener = self._listen()
        self.listening.set()
        self._log({"event": "listening", "socket": str(self._path), "gateway": self._broker.gateway})
        try:
            with selectors.DefaultSelector() as selector, ThreadPoolExecutor(WORKERS) as workers:
                selector.register(listener, selectors.EVENT_READ)
                if self._until_eof is not None:
                    selector.register(self._until_eof, selectors.EVENT_READ)
                while not self._stopping.is_set():
                    for key, _ in selector.select(ACCEPT_SECONDS):
                        if key.fileobj is listener:
                            self._accept(listener, workers)
                        elif not os.read(key.fd, 4096):
                            self.stop()
            if self._until_eof is not None:
                self._remove_leftovers()
        finally:
            self.listening.clear()
            listener.close()
            self._path.unlink(missing_ok=True)
            self._log({"event": "stopped"})

    def _remove_leftovers(self) -> None:
        try:
            removed = self._broker.reap(())
        except Refused as refusal:
            self._log({"event": "leftovers", "ok": False, "reason": refusal.reason, "message": refusal.message})
        else:
            self._log({"event": "leftovers", "ok": True, "removed": removed})

    def _listen(self) -> socket.socket:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except FileNotFoundError:
                pass
            except ConnectionRefusedError:
                self._path.unlink()
            else:
                raise FileExistsError(f"another broker listens on {self._path}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o777 & ~self._mode)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        listener.listen(WAITING)
        listener.setblocking(False)
        return listener

    def _accept(self, listener: socket.socket, workers: ThreadPoolExecutor) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.settimeout(REQUEST_SECONDS)
        if self._room.acquire(blocking=False):
            workers.submit(self._serve_one, connection)
        else:
            self._say(connection, _refusal(Refused("busy", "too many requests at once")))
            connection.close()

    def _serve_one(self, connection: socket.socket) -> None:
        began = time.monotonic()
        entry: dict[str, Any] = {"event": "request"}
        try:
            with connection:
                self._exchange(connection, entry)
        except OSError as error:
            entry |= {"ok": False, "reason": "caller", "message": str(error)}
        except Exception as error:  # noqa: BLE001 the one place that keeps a worker alive; logged with its type
            entry |= {"ok": False, "reason": "internal", "message": f"{type(error).__name__}: {error}"}
        finally:
            self._room.release()
            entry["ms"] = round((time.monotonic() - began) * 1000, 1)
            self._log(entry)

    def _exchange(self, connection: socket.socket, entry: dict[str, Any]) -> None:
        try:
            entry["uid"] = self._check_peer(connection)
            request = decode_request(_read_line(connection))
            entry["verb"] = type(request).__name__.lower()
            for name in ("session", "sandbox", "profile", "workspace", "keep"):
                if hasattr(request, name):
                    entry[name] = str(getattr(request, name))[:500]
            answer = self._broker.answer(request)
        except Refused as refusal:
            entry |= {"ok": False, "reason": refusal.reason, "message": refusal.message}
            self._say(connection, _refusal(refusal))
            return
        self._deliver(connection, answer, entry)

    def _deliver(self, connection: socket.socket, answer: Answer, entry: dict[str, Any]) -> None:
        taken = False
        try:
            line = encode_answer({"ok": True} | answer.facts)
            if answer.stream is None:
                connection.sendall(line)
            else:
                sent = socket.send_fds(connection, [line], [answer.stream.fileno()])
                if sent < len(line):
                    connection.sendall(line[sent:])
                answer.stream.close()
            taken = answer.created is None or connection.recv(len(ACKNOWLEDGED)) == ACKNOWLEDGED
            entry["ok"] = taken
        finally:
            if answer.stream is not None:
                answer.stream.close()
            if not taken and answer.created is not None:
                entry["abandoned"] = answer.created
                self._broker.remove(answer.created)

    def _check_peer(self, connection: socket.socket) -> int:
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid not in self._uids:
            raise Refused("not_allowed", f"uid {uid} may not speak to this broker")
        return int(uid)

    def _say(self, connection: socket.socket, answer: dict[str, Any]) -> None:
        try:
            connection.sendall(encode_answer(answer))
        except OSError as error:
            self._log({"event": "unheard", "message": str(error)})

    def _log(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"time": round(time.time(), 3)} | entry) + "\n"
        with self._log_lock:
            sys.stderr.write(line)
            sys.stderr.flush()


def _refusal(refusal: Refused) -> dict[str, Any]:
    return {"ok": False, "reason": refusal.reason, "message": refusal.message[:2000]}


def _read_line(connection: socket.socket) -> bytes:
    """One line, within the size and the time of a request."""
    deadline = time.monotonic() + REQUEST_SECONDS
    line = bytearray()
    while b"\n" not in line:
        if len(line) >= MAX_REQUEST:
            raise Refused("too_large", f"a request is at most {MAX_REQUEST} bytes")
        left = deadline - time.monotonic()
        if left <= 0:
            raise Refused("timeout", "the request did not come in time")
        connection.settimeout(left)
        try:
            part = connection.recv(MAX_REQUEST - len(line))
        except TimeoutError as error:
            raise Refused("timeout", "the request did not come in time") from error
        if not part:
            raise Refused("bad_request", "the request ended before its line did")
        line += part
    connection.settimeout(REQUEST_SECONDS)
    request, _, rest = bytes(line).partition(b"\n")
    if rest:
        raise Refused("bad_request", "one request per connection")
    return request
