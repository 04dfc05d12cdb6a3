"""read_lines: a window of a text file as UTF-8 with LF ends, however large the file is."""

from __future__ import annotations

import os

from refusal import Params, Refusal, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from paths import Roots

BYTES_LIMIT = 4 << 20
LINE_LIMIT = 1 << 20
SCAN_LIMIT = 1 << 30
UTF16_LIMIT = 32 << 20
_CHUNK = 1 << 18
_SNIFF = 8192
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def encoding_of(head: bytes) -> tuple[str, int]:
    """(encoding, length of the byte order mark) from the first bytes; "binary" when they hold a NUL."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name, len(bom)
    return ("binary" if b"\0" in head[:_SNIFF] else "utf-8"), 0


class _Window:
    """Collects the wanted lines from a stream of chunks while counting all of them.

    Lines outside the window are only counted; a line longer than `max_line` keeps its first bytes."""

    def __init__(self, first: int, limit: int, max_bytes: int, max_line: int) -> None:
        self._first = first
        self._end = first + limit
        self._room = max_bytes
        self._max_line = max_line
        self._line = 1
        self._partial = bytearray()
        self._partial_cut = False
        self._open = False
        self.final_newline = False
        self.lines: list[bytes] = []
        self.cut_lines = 0

    def feed(self, chunk: bytes) -> None:
        at = 0
        size = len(chunk)
        while at < size:
            if self._line >= self._end or (self._line < self._first):
                newlines = chunk.count(b"\n", at)
                if self._line >= self._end or self._line + newlines < self._first:
                    self._line += newlines
                    self._open = not chunk.endswith(b"\n")
                    return
                for _ in range(self._first - self._line):
                    at = chunk.find(b"\n", at) + 1
                self._line = self._first
                self._open = False
                continue
            stop = chunk.find(b"\n", at)
            piece_end = size if stop < 0 else stop
            space = self._max_line * 4 + 1 - len(self._partial)
            if piece_end - at > space:
                self._partial_cut = True
            self._partial += chunk[at : min(piece_end, at + max(space, 0))]
            self._open = True
            if stop < 0:
                return
            self._finish()
            at = stop + 1

    def _finish(self) -> None:
        raw = bytes(self._partial)
        if raw.endswith(b"\r") and not self._partial_cut:
            raw = raw[:-1]
        text = raw.decode("utf-8", "replace")
        cut = self._partial_cut or len(text) > self._max_line
        line = text[: self._max_line].encode("utf-8")
        if len(line) + 1 > self._room:
            self._end = self._line
        else:
            self._room -= len(line) + 1
            self.lines.append(line)
            self.cut_lines += cut
        self._partial = bytearray()
        self._partial_cut = False
        self._line += 1
        self._open = False

    def close(self) -> int:
        """The total number of lines; an unfinished last line counts."""
        self.final_newline = not self._open and self._line > 1
        if self._open and self._first <= self._line < self._end:
            self._finish()
        elif self._open:
            self._line += 1
        return self._line - 1


def _chunks(fd: int, skip: int) -> Iterator[bytes]:
    at = skip
    while at < SCAN_LIMIT:
        chunk = os.pread(fd, _CHUNK, at)
        if not chunk:
            return
        at += len(chunk)
        yield chunk


def read_lines(roots: Roots, params: Params) -> tuple[dict[str, Any], bytes]:
    path = params.text("path")
    offset = params.whole("offset", 1, 1, 1 << 40)
    limit = params.whole("limit", 2000, 0, 1 << 24)
    max_bytes = params.whole("max_bytes", 256 << 10, 0, BYTES_LIMIT)
    max_line = params.whole("max_line", 2000, 1, LINE_LIMIT)
    params.done()
    window = _Window(offset, limit, max_bytes, max_line)
    with roots.place(path) as place:
        fd = place.open(os.O_RDONLY)
    try:
        found = os.fstat(fd)
        head = os.pread(fd, _SNIFF, 0)
        encoding, bom = encoding_of(head)
        crlf = b"\r\n" in head
        if encoding.startswith("utf-16"):
            if found.st_size > UTF16_LIMIT:
                raise Refusal("too_large", f"{path}: UTF-16 larger than {UTF16_LIMIT} bytes")
            text = b"".join(_chunks(fd, bom)).decode(encoding, "replace")
            crlf = "\r\n" in text
            window.feed(text.encode("utf-8", "replace"))
        else:
            for chunk in _chunks(fd, bom):
                window.feed(chunk)
    except OSError as error:
        raise from_os_error(error, path) from error
    finally:
        os.close(fd)
    total = window.close()
    lines = window.lines
    return {
        "total_lines": total if found.st_size <= SCAN_LIMIT else None,
        "first": offset,
        "count": len(lines),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "encoding": encoding,
        "truncated_lines": window.cut_lines,
        "has_bom": bom > 0,
        "crlf": crlf,
        "final_newline": window.final_newline,
    }, b"".join(line + b"\n" for line in lines)
