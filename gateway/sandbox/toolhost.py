"""The typed client of the toolhost: what a sandbox can do, method by method (docs/toolhost.md).

Knows the methods and checks every answer; does not know where the sandbox runs or how bytes travel.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from gateway.sandbox.channel import Channel, Reply
from gateway.sandbox.errors import ChannelBroken, SandboxError, ToolhostError
from gateway.sandbox.process import Exit, Killed, Process
from gateway.sandbox.results import (
    Cell,
    CellOutput,
    Counted,
    Edited,
    Entry,
    Expect,
    FileData,
    FileStat,
    Health,
    Lines,
    Listing,
    Notebook,
    NotebookEdited,
    NotebookHead,
    Paths,
    RunningCall,
    RunningCalls,
    Spawned,
    Version,
    Written,
)

__all__ = [
    "Cell",
    "CellOutput",
    "Edited",
    "Entry",
    "Exit",
    "Expect",
    "FileData",
    "FileStat",
    "Health",
    "Killed",
    "Lines",
    "Listing",
    "Notebook",
    "NotebookEdited",
    "Paths",
    "Process",
    "RunningCall",
    "Toolhost",
    "Version",
    "Written",
]

_INLINE_COMMAND = 32 << 10
"""Characters of argv and env above which they travel in the payload instead of the header."""
_FILE_LIMIT = 64 << 20

T = TypeVar("T")
Many = list  # the method `list` hides the type inside the class


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    call: str
    fd: Literal[1, 2]


class _Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    call: str
    code: int | None
    signal: int | None
    report: str | None
    output_bytes: int
    truncated: bool


class Toolhost:
    """Every method raises ToolhostError (refused), ToolhostTimeout, ChannelBroken or SandboxGone.

    `path` is always absolute; outside of the sandbox's roots it is refused with reason "outside"."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._processes: dict[str, Process] = {}
        channel.subscribe(self._notified, self._broken)

    # -- processes -------------------------------------------------------------------------------------------

    async def ping(self, timeout: float = 5.0) -> None:
        await self._channel.call("ping", {}, timeout=timeout)

    async def health(self, timeout: float = 5.0) -> Health:
        return self._typed(Health, await self._channel.call("health", {}, timeout=timeout))

    async def calls(self) -> list[RunningCall]:
        """The calls that still have a process, the main one or one left behind."""
        return self._typed(RunningCalls, await self._channel.call("process.list", {})).calls

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str | None] | None = None,
        call: str | None = None,
        stdin: bool = False,
        output_path: str | None = None,
        file_limit: int = _FILE_LIMIT,
        report: bool = False,
        timeout: float = 30.0,
    ) -> Process:
        """Start a program. `env` is laid over the sandbox's own (None unsets). With `output_path` both outputs
        are appended to that file, up to `file_limit` bytes. `report` opens descriptor 9 for the program.

        When this is cancelled or times out after the request left, the program is killed."""
        name = call or secrets.token_hex(8)
        if name in self._processes:
            raise ToolhostError("exists", f"call {name!r} is running")
        params: dict[str, Any] = {
            "call": name,
            "cwd": cwd,
            "stdin": stdin,
            "output": "stream" if output_path is None else "file",
            "report": report,
        }
        if output_path is not None:
            params.update(path=output_path, file_limit=file_limit)
        command = {"argv": list(argv), "env": dict(env or {})}
        payload = b""
        if sum(map(len, command["argv"])) + sum(len(k) + len(v or "") for k, v in (env or {}).items()) > (
            _INLINE_COMMAND
        ):
            payload = msgspec.json.encode(command)
        else:
            params.update(command)
        process = Process(self._channel, name, self._forget)
        self._processes[name] = process
        try:
            reply = await self._channel.call("process.spawn", params, payload, timeout)
            process.pid = self._typed(Spawned, reply).pid
        except ToolhostError:
            del self._processes[name]
            raise
        except BaseException:
            process.abandon()
            raise
        return process

    def _forget(self, name: str) -> None:
        self._processes.pop(name, None)

    def _notified(self, method: str, params: dict[str, Any], payload: bytes) -> None:
        try:
            if method == "process.output":
                output = msgspec.convert(params, _Output)
                self._process(output.call).arrived(output.fd, payload)
            elif method == "process.exit":
                ended = msgspec.convert(params, _Ended)
                if ended.report is not None and len(ended.report) > 4096:
                    raise ChannelBroken("report over its limit")
                self._process(ended.call).ended(
                    Exit(ended.code, ended.signal, ended.report, ended.output_bytes, ended.truncated)
                )
            else:
                raise ChannelBroken(f"unknown notification {method[:64]!r}")
        except msgspec.ValidationError as error:
            raise ChannelBroken(f"bad {method}: {error}") from error

    def _process(self, name: str) -> Process:
        process = self._processes.get(name)
        if process is None:
            raise ChannelBroken("speaks of a call that does not run")
        return process

    def _broken(self, error: SandboxError) -> None:
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.lost(error)

    # -- files -----------------------------------------------------------------------------------------------

    async def stat(self, path: str) -> FileStat:
        """Of the name itself: a symbolic link is not followed."""
        return self._typed(FileStat, await self._channel.call("fs.stat", {"path": path}))

    async def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> FileData:
        """At most 1 MiB of a file's bytes."""
        reply = await self._channel.call("fs.read", {"path": path, "offset": offset, "limit": limit})
        if len(reply.payload) > limit:
            raise self._channel.break_off("fs.read sent more than asked")
        return msgspec.structs.replace(self._typed(FileData, reply), data=reply.payload)

    async def read_lines(
        self,
        path: str,
        offset: int = 1,
        limit: int = 2000,
        *,
        max_bytes: int = 256 << 10,
        max_line: int = 2000,
        timeout: float = 60.0,
    ) -> Lines:
        """A window of lines as text with LF ends; undecodable bytes become U+FFFD, long lines are cut."""
        params = {"path": path, "offset": offset, "limit": limit, "max_bytes": max_bytes, "max_line": max_line}
        reply = await self._channel.call("fs.read_lines", params, timeout=timeout)
        if len(reply.payload) > max_bytes:
            raise self._channel.break_off("fs.read_lines sent more than asked")
        return msgspec.structs.replace(self._typed(Lines, reply), text=self._text(reply.payload))

    async def write(self, path: str, data: bytes, expect: Expect = None) -> Written:
        """Replace or create a file in one step, at most 8 MiB, parents included."""
        params = {"path": path, "expect": _expectation(expect)}
        return self._typed(Written, await self._channel.call("fs.write", params, data))

    async def edit(self, path: str, old: str, new: str, *, replace_all: bool = False, expect: Expect = None) -> Edited:
        """Replace text. Reasons of its own: no_match, ambiguous (data.count), stale."""
        before = old.encode("utf-8")
        payload = len(before).to_bytes(4, "big") + before + new.encode("utf-8")
        params = {"path": path, "replace_all": replace_all, "expect": _expectation(expect)}
        reply = await self._channel.call("fs.edit", params, payload)
        return msgspec.structs.replace(self._typed(Edited, reply), snippet=self._text(reply.payload))

    async def list(self, path: str, limit: int = 1000) -> Listing:
        """The entries of a directory by name."""
        reply = await self._channel.call("fs.list", {"path": path, "limit": limit})
        counted = self._typed(Counted, reply)
        return Listing(self._counted(list[Entry], reply.payload, counted.count), counted.truncated)

    async def glob(self, pattern: str, path: str, limit: int = 100, timeout: float = 60.0) -> Paths:
        """Regular files below `path`, newest first."""
        params = {"pattern": pattern, "path": path, "limit": limit}
        reply = await self._channel.call("fs.glob", params, timeout=timeout)
        counted = self._typed(Counted, reply)
        return Paths(self._counted(list[str], reply.payload, counted.count), counted.truncated)

    async def notebook(self, path: str) -> Notebook:
        """The cells of a Jupyter notebook with their outputs, capped."""
        reply = await self._channel.call("fs.notebook", {"path": path})
        head = self._typed(NotebookHead, reply)
        cells = self._counted(list[Cell], reply.payload, len(head.cells))
        return Notebook(cells, head.language, head.total, head.truncated, head.size, head.mtime_ns)

    async def notebook_edit(
        self,
        path: str,
        source: str,
        *,
        cell_id: str = "",
        cell_type: Literal["", "code", "markdown", "raw"] = "",
        edit_mode: Literal["replace", "insert", "delete"] = "replace",
        expect: Expect = None,
    ) -> NotebookEdited:
        """Replace, insert (after `cell_id`, or first) or delete a cell; `cell_id` may be `cell-N`."""
        params = {
            "path": path,
            "cell_id": cell_id,
            "cell_type": cell_type,
            "edit_mode": edit_mode,
            "expect": _expectation(expect),
        }
        reply = await self._channel.call("fs.notebook_edit", params, source.encode("utf-8"))
        return self._typed(NotebookEdited, reply)

    # -- checking --------------------------------------------------------------------------------------------

    def _typed(self, kind: type[T], reply: Reply) -> T:
        try:
            return msgspec.convert(reply.result, kind)
        except msgspec.ValidationError as error:
            raise self._channel.break_off(f"bad result: {error}") from error

    def _counted(self, kind: type[Many[T]], payload: bytes, count: int) -> Many[T]:
        try:
            values = msgspec.json.decode(payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._channel.break_off(f"bad payload: {str(error)[:200]}") from error
        if len(values) != count:
            raise self._channel.break_off("payload does not hold what the result counts")
        return values

    def _text(self, payload: bytes) -> str:
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._channel.break_off("text is not UTF-8") from error


def _expectation(expect: Expect) -> dict[str, int] | str | None:
    if isinstance(expect, Version):
        return {"mtime_ns": expect.mtime_ns, "size": expect.size}
    return expect
