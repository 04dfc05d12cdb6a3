"""stat, read, write and list on resolved places; every replacement of a file goes through `replace`."""

from __future__ import annotations

import itertools
import os
import stat

import wire
from refusal import Params, Refusal, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from paths import Place, Roots

READ_LIMIT = 1 << 20
WHOLE_LIMIT = 16 << 20
LIST_LIMIT = 10_000

_serial = itertools.count()


def kind_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def read_whole(place: Place, limit: int = WHOLE_LIMIT) -> tuple[bytes, os.stat_result]:
    """The whole regular file, at most `limit` bytes, and the stat of exactly what was read."""
    fd = place.open(os.O_RDONLY)
    try:
        before = os.fstat(fd)
        if before.st_size > limit:
            raise Refusal("too_large", f"{place.path}: larger than {limit} bytes", size=before.st_size)
        chunks = []
        left = limit + 1
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 20))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        if left <= 0:
            raise Refusal("too_large", f"{place.path}: larger than {limit} bytes")
        return b"".join(chunks), before
    except OSError as error:
        raise from_os_error(error, place.path) from error
    finally:
        os.close(fd)


def check_expectation(expect: Any, found: os.stat_result | None, path: str) -> None:
    """`expect` is null (anything), "absent", or {mtime_ns, size} of the version the caller knows."""
    if expect is None:
        return
    if expect == "absent":
        if found is not None:
            raise Refusal("exists", f"{path}: already exists")
        return
    if type(expect) is not dict or type(expect.get("mtime_ns")) is not int or type(expect.get("size")) is not int:
        raise Refusal("invalid", 'expect must be null, "absent" or {mtime_ns, size}')
    if found is None or (found.st_mtime_ns, found.st_size) != (expect["mtime_ns"], expect["size"]):
        raise Refusal("stale", f"{path}: changed since it was read")


def replace(place: Place, data: bytes, expect: Any) -> tuple[bool, os.stat_result]:
    """Write `data` under the place's name in one step: (created, stat). Keeps the mode of what it replaces."""
    if place.name == ".":
        raise Refusal("is_directory", f"{place.path}: is a directory")
    found = place.exists()
    if found is not None and not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise Refusal("is_directory", f"{place.path}: is a directory")
        raise Refusal("unsupported", f"{place.path}: not a regular file")
    check_expectation(expect, found, place.path)
    temporary = f".bulkhead-{os.getpid()}-{next(_serial)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, 0o666, dir_fd=place.parent)
    except OSError as error:
        raise from_os_error(error, place.path) from error
    try:
        try:
            if found is not None:
                os.fchmod(fd, stat.S_IMODE(found.st_mode))
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            written = os.fstat(fd)
        finally:
            os.close(fd)
        check_expectation(expect, place.exists(), place.path)
        if expect == "absent":
            os.link(temporary, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
            os.unlink(temporary, dir_fd=place.parent)
        else:
            os.rename(temporary, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except BaseException as error:
        try:
            os.unlink(temporary, dir_fd=place.parent)
        except FileNotFoundError:
            pass
        if isinstance(error, OSError):
            raise from_os_error(error, place.path) from error
        raise
    return found is None, written


class Files:
    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def stat(self, params: Params, _payload: bytes) -> dict[str, Any]:
        path = params.text("path")
        params.done()
        with self._roots.place(path, follow=False) as place:
            found = place.stat()
        return {
            "kind": kind_of(found.st_mode),
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "mode": stat.S_IMODE(found.st_mode),
        }

    def read(self, params: Params, _payload: bytes) -> tuple[dict[str, Any], bytes]:
        path = params.text("path")
        offset = params.whole("offset", 0)
        limit = params.whole("limit", READ_LIMIT, 0, READ_LIMIT)
        params.done()
        with self._roots.place(path) as place:
            fd = place.open(os.O_RDONLY)
            try:
                found = os.fstat(fd)
                data = os.pread(fd, limit, offset)
            except OSError as error:
                raise from_os_error(error, path) from error
            finally:
                os.close(fd)
        return {
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "eof": offset + len(data) >= found.st_size,
        }, data

    def write(self, params: Params, payload: bytes) -> dict[str, Any]:
        path = params.text("path")
        expect = params.raw("expect")
        params.done()
        with self._roots.place(path, make_parents=True) as place:
            created, written = replace(place, payload, expect)
        return {"created": created, "size": written.st_size, "mtime_ns": written.st_mtime_ns}

    def list(self, params: Params, _payload: bytes) -> tuple[dict[str, Any], bytes]:
        path = params.text("path")
        limit = params.whole("limit", 1000, 1, LIST_LIMIT)
        params.done()
        entries: list[dict[str, Any]] = []
        truncated = False
        with self._roots.place(path) as place:
            fd = place.open(os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(fd) as found:
                    for entry in found:
                        if len(entries) == LIST_LIMIT:
                            truncated = True
                            break
                        entries.append(_listed(entry))
            except OSError as error:
                raise from_os_error(error, path) from error
            finally:
                os.close(fd)
        entries.sort(key=lambda item: item["name"])
        truncated = truncated or len(entries) > limit
        return {"count": min(len(entries), limit), "truncated": truncated}, wire.dumps(entries[:limit])


def _listed(entry: os.DirEntry[str]) -> dict[str, Any]:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return {"name": entry.name, "kind": "other", "size": 0}
    return {"name": entry.name, "kind": kind_of(found.st_mode), "size": found.st_size}
