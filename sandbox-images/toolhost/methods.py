"""The table of methods and the way from a request to its answer."""

from __future__ import annotations

import os
import time

import edits
import globs
import lines
import notebooks
import tree
import wire
from calls import Call, Calls
from files import Files
from refusal import Params, Refusal, from_os_error
from spawn import Spawner, command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from link import Link
    from loop import Workers
    from paths import Roots

    Answer = dict[str, Any] | tuple[dict[str, Any], bytes]

_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_FILE_LIMIT = 1 << 30
REMEMBERED = 1024
_CODES = {"invalid": -32602, "internal": -32603}
_OWN_KEYS = frozenset(("jsonrpc", "seq", "ack", "id", "method", "params"))


def _error(reason: str, message: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"code": _CODES.get(reason, -32000), "message": message, "data": data}


class Methods:
    """Owns the calls and answers every request exactly once."""

    def __init__(self, link: Link, calls: Calls, workers: Workers, roots: Roots) -> None:
        self._link = link
        self._calls = calls
        self._workers = workers
        self._roots = roots
        self._spawner = Spawner(self._calls.reap)
        self._files = files = Files(roots)
        self._started = time.monotonic()
        self._inline: dict[str, Callable[[Params, bytes], Answer]] = {
            "ping": lambda params, payload: {},
            "health": self._health,
            "process.spawn": self._spawn,
            "process.signal": self._signal,
            "process.kill": self._kill,
            "process.list": self._list,
            "fs.stat": files.stat,
            "fs.read": files.read,
            "fs.write": files.write,
            "fs.edit": lambda params, payload: edits.edit(roots, params, payload),
            "fs.notebook_edit": lambda params, payload: notebooks.edit(roots, params, payload),
        }
        self._beside: dict[str, Callable[[Params, bytes], Answer]] = {
            "fs.read_lines": lambda params, payload: lines.read_lines(roots, params),
            "fs.list": files.list,
            "fs.glob": lambda params, payload: globs.glob(roots, params),
            "fs.notebook": lambda params, payload: notebooks.read(roots, params),
        }

    def deliver(self, header: dict[str, Any], payload: bytes) -> None:
        """One request or notification of the gateway. Raises Malformed when it is neither."""
        method, params, number = header.get("method"), header.get("params", {}), header.get("id")
        if type(method) is not str or type(params) is not dict or header.keys() - _OWN_KEYS:
            raise wire.Malformed("neither a request nor a notification")
        if number is None:
            if method != "process.credit":
                raise wire.Malformed("unknown notification")
            self._credit(params)
            return
        if type(number) is not int:
            raise wire.Malformed("request id must be a whole number")
        try:
            if method in self._inline:
                self._answer(number, self._inline[method](Params(params), payload), None)
            elif method in self._beside:
                job = self._beside[method]
                self._workers.submit(
                    lambda: job(Params(params), payload),
                    lambda result, error: self._answer(number, result, error),
                )
            elif method == "process.stdin":
                self._stdin(number, Params(params), payload)
            else:
                raise Refusal("unsupported", f"unknown method {method[:64]!r}")
        except wire.Malformed:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a failure becomes an answer
            self._answer(number, {}, error)

    def _answer(self, number: int, answer: Answer, error: BaseException | None) -> None:
        if error is None:
            result, payload = answer if type(answer) is tuple else (answer, b"")
            self._link.send({"id": number, "result": result}, payload)
            return
        if isinstance(error, OSError):
            error = from_os_error(error)
        if isinstance(error, Refusal):
            body = _error(error.reason, error.message, error.data)
        elif isinstance(error, MemoryError):
            body = _error("limit", "out of memory", {"reason": "limit"})
        else:
            os.write(2, f"toolhost: {type(error).__name__}: {error}\n".encode("utf-8", "replace")[:2000])
            body = _error("internal", type(error).__name__, {"reason": "internal"})
        self._link.send({"id": number, "error": body})

    # -- processes -------------------------------------------------------------------------------------------

    def _credit(self, params: dict[str, Any]) -> None:
        call, size = params.get("call"), params.get("bytes")
        if type(call) is not str or type(size) is not int or not 0 < size < 1 << 31:
            raise wire.Malformed("process.credit needs a call and bytes")
        self._calls.grant(call, size)

    def _call(self, params: Params) -> Call:
        name = params.text("call", limit=64)
        call = self._calls.by_name.get(name)
        if call is None:
            raise Refusal("not_found", f"no call {name!r}")
        return call

    def _spawn(self, params: Params, payload: bytes) -> dict[str, Any]:
        name = params.text("call", limit=64)
        argv, env = command_of(params, payload)
        cwd = params.text("cwd", "/")
        wants_input = params.flag("stdin")
        output = params.text("output", "stream", 16)
        path = params.text("path", "")
        file_limit = params.whole("file_limit", 64 << 20, 0, _FILE_LIMIT)
        wants_report = params.flag("report")
        params.done()
        if not name or not _NAME.issuperset(name):
            raise Refusal("invalid", "call must match [A-Za-z0-9_-]{1,64}")
        if name in self._calls.by_name:
            raise Refusal("exists", f"call {name!r} was used before")
        if output not in ("stream", "file") or (output == "file") != bool(path):
            raise Refusal("invalid", 'output is "stream", or "file" with a path')
        if len(self._calls.by_name) >= REMEMBERED:
            self._forget()
        ours: list[int] = []
        theirs: list[int] = []
        try:
            call = Call(name, 0, 0)
            if output == "file":
                ours.append(self._output_file(path))
                call.file, call.file_room = ours[-1], file_limit
            out = self._pipe(ours, theirs)
            call.outputs[ours[-1]] = 0 if output == "file" else 1
            err = out
            if output == "stream":
                err = self._pipe(ours, theirs)
                call.outputs[ours[-1]] = 2
            report = -1
            if wants_report:
                report = self._pipe(ours, theirs)
                call.report = ours[-1]
                os.set_blocking(call.report, False)
            stdin = -1
            if wants_input:
                stdin, call.stdin = os.pipe()
                ours.append(call.stdin)
                theirs.append(stdin)
                os.set_blocking(call.stdin, False)
            call.pid, call.tag = self._spawner.spawn(argv, env, cwd, stdin, out, err, report)
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._calls.add(call)
        return {"pid": call.pid}

    def _pipe(self, ours: list[int], theirs: list[int]) -> int:
        read, write = os.pipe()
        ours.append(read)
        theirs.append(write)
        return write

    def _output_file(self, path: str) -> int:
        with self._roots.place(path, make_parents=True) as place:
            flags = os.O_WRONLY | os.O_APPEND
            if place.exists() is None:
                try:
                    return os.open(
                        place.name, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=place.parent
                    )
                except OSError as error:
                    raise from_os_error(error, path) from error
            return place.open(flags)

    def _stdin(self, number: int, params: Params, payload: bytes) -> None:
        call = self._call(params)
        eof = params.flag("eof")
        params.done()
        problem = self._calls.feed(call, number, payload, eof)
        if problem:
            raise Refusal("limit" if call.stdin >= 0 else "invalid", problem)

    def _signal(self, params: Params, _payload: bytes) -> dict[str, Any]:
        call = self._call(params)
        number = params.whole("signal", low=1, high=64)
        params.done()
        if not call.running:
            raise Refusal("not_found", f"call {call.name!r} has ended")
        try:
            os.killpg(call.pid, number)
        except ProcessLookupError as error:
            raise Refusal("not_found", f"call {call.name!r} has ended") from error
        return {}

    def _kill(self, params: Params, _payload: bytes) -> dict[str, Any]:
        call = self._call(params)
        params.done()
        others = {other.tag: other.running for other in self._calls.by_name.values() if other is not call}
        return tree.TreeKill(call.tag, others).run()

    def _list(self, params: Params, _payload: bytes) -> dict[str, Any]:
        params.done()
        alive = tree.alive_by_tag()
        listed = [
            {"call": c.name, "pid": c.pid, "running": c.running, "processes": alive.get(c.tag, 0)}
            for c in self._calls.by_name.values()
            if c.running or alive.get(c.tag)
        ]
        return {"calls": listed[-256:]}

    def _forget(self) -> None:
        """Drop ended calls that left no process and no open pipe behind."""
        alive = tree.alive_by_tag()
        for call in list(self._calls.by_name.values()):
            if call.finished and not call.outputs and call.tag not in alive:
                del self._calls.by_name[call.name]
        if len(self._calls.by_name) >= REMEMBERED:
            raise Refusal("limit", f"{REMEMBERED} calls are still alive")

    def _health(self, params: Params, _payload: bytes) -> dict[str, Any]:
        params.done()
        # Outside of a process namespace of its own it sees the programs of other toolhosts too.
        own = {call.tag for call in self._calls.by_name.values()}
        alive = tree.alive_by_tag()
        return {
            "uptime_ms": int((time.monotonic() - self._started) * 1000),
            "processes": sum(n for tag, n in alive.items() if os.getpid() == 1 or tag in own),
            "calls": sum(call.running for call in self._calls.by_name.values()),
            "unacked_bytes": self._link.unacked_bytes,
        }

    def end_everything(self) -> None:
        """Leave no process behind when the session is over."""
        for call in list(self._calls.by_name.values()):
            tree.TreeKill(call.tag, {}).run()
