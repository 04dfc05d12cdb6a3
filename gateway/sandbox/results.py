"""What the toolhost's methods answer, as types. Every answer is converted to one of these or refused."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Cell",
    "CellHead",
    "CellOutput",
    "Counted",
    "Edited",
    "Entry",
    "Expect",
    "FileData",
    "FileStat",
    "Health",
    "Lines",
    "Listing",
    "Notebook",
    "NotebookEdited",
    "NotebookHead",
    "Paths",
    "RunningCall",
    "RunningCalls",
    "Spawned",
    "Version",
    "Written",
]


class Version(msgspec.Struct, frozen=True):
    """Which version of a file the caller knows; an edit of another version is refused as stale."""

    mtime_ns: int
    size: int


Expect = Version | Literal["absent"] | None


class Health(msgspec.Struct, frozen=True):
    uptime_ms: int
    processes: int
    calls: int
    unacked_bytes: int


class RunningCall(msgspec.Struct, frozen=True):
    call: str
    pid: int
    running: bool
    processes: int


class FileStat(msgspec.Struct, frozen=True):
    kind: Literal["file", "dir", "symlink", "other"]
    size: int
    mtime_ns: int
    mode: int


class FileData(msgspec.Struct, frozen=True):
    """A piece of a file; `eof` says that nothing follows it."""

    size: int
    mtime_ns: int
    eof: bool
    data: bytes = b""


class Lines(msgspec.Struct, frozen=True):
    """A window of lines. `total_lines` is None for a file too large to count (1 GiB); `encoding` is "binary"
    when the file does not look like text."""

    total_lines: int | None
    first: int
    count: int
    size: int
    mtime_ns: int
    encoding: Literal["utf-8", "utf-16-le", "utf-16-be", "binary"]
    truncated_lines: int
    has_bom: bool
    crlf: bool
    final_newline: bool
    text: str = ""


class Written(msgspec.Struct, frozen=True):
    created: bool
    size: int
    mtime_ns: int


class Edited(msgspec.Struct, frozen=True):
    """`line` is where the first change starts; `snippet` shows the new text from line `first` on."""

    count: int
    line: int
    first: int
    size: int
    mtime_ns: int
    snippet: str = ""


class Entry(msgspec.Struct, frozen=True):
    name: str
    kind: Literal["file", "dir", "symlink", "other"]
    size: int


class Counted(msgspec.Struct, frozen=True):
    count: int
    truncated: bool


class Listing(msgspec.Struct, frozen=True):
    entries: list[Entry]
    truncated: bool


class Paths(msgspec.Struct, frozen=True):
    paths: list[str]
    truncated: bool


class CellOutput(msgspec.Struct, frozen=True):
    type: Literal["stream", "error", "data"]
    text: str = ""
    image: dict[str, str] | None = None


class Cell(msgspec.Struct, frozen=True):
    id: str
    type: Literal["code", "markdown", "raw"]
    source: str
    outputs: list[CellOutput]


class CellHead(msgspec.Struct, frozen=True):
    id: str
    type: str
    language: str


class NotebookHead(msgspec.Struct, frozen=True):
    cells: list[CellHead]
    language: str
    total: int
    truncated: bool
    size: int
    mtime_ns: int


class Notebook(msgspec.Struct, frozen=True):
    cells: list[Cell]
    language: str
    total: int
    truncated: bool
    size: int
    mtime_ns: int


class NotebookEdited(msgspec.Struct, frozen=True):
    cell_id: str
    size: int
    mtime_ns: int


class Spawned(msgspec.Struct, frozen=True):
    pid: int


class RunningCalls(msgspec.Struct, frozen=True):
    calls: list[RunningCall]
