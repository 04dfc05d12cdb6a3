"""From an absolute path to an open directory and a name, without ever leaving the root the path starts in.

Every component is opened by itself with O_NOFOLLOW relative to the directory before it, so a swapped symlink
cannot redirect a walk; links are read and walked by hand, '..' pops the stack of open directories.
"""

from __future__ import annotations

import errno
import os
import stat

from refusal import Refusal, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RACES = 8


class Place:
    """An open parent directory and the last name in it ('.' for a root itself). Close it after use."""

    def __init__(self, parent: int, name: str, path: str) -> None:
        self.parent = parent
        self.name = name
        self.path = path

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.parent)

    def stat(self) -> os.stat_result:
        """Of the name itself, never through a link."""
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def exists(self) -> os.stat_result | None:
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, self.path) from error

    def open(self, flags: int) -> int:
        """Open the name, which must be a regular file (a directory with O_DIRECTORY), never a link."""
        found = self.stat()
        wanted = stat.S_ISDIR if flags & os.O_DIRECTORY else stat.S_ISREG
        _check_kind(found.st_mode, wanted is stat.S_ISDIR, self.path)
        try:
            fd = os.open(
                self.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=self.parent
            )
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Refusal("busy", f"{self.path}: changed while it was opened") from error
            raise from_os_error(error, self.path) from error
        if not wanted(os.fstat(fd).st_mode):
            os.close(fd)
            raise Refusal("busy", f"{self.path}: changed while it was opened")
        return fd


def _check_kind(mode: int, directory: bool, path: str) -> None:
    if directory:
        if not stat.S_ISDIR(mode):
            raise Refusal("not_a_directory", f"{path}: not a directory")
    elif stat.S_ISDIR(mode):
        raise Refusal("is_directory", f"{path}: is a directory")
    elif not stat.S_ISREG(mode):
        raise Refusal("unsupported", f"{path}: not a regular file")


class Roots:
    """The directories file methods may touch."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = sorted({os.path.normpath(root) for root in roots}, key=len, reverse=True)

    def place(self, path: str, follow: bool = True, make_parents: bool = False) -> Place:
        """Resolve `path` up to its last name; with `follow` a link in last place is walked as well.

        Refusals: outside (left the root), not_found, not_a_directory, permission, invalid (too many links)."""
        if not path.startswith("/"):
            raise Refusal("invalid", "path must be absolute")
        if "\0" in path or len(path) > 4096:
            raise Refusal("invalid", "path is too long or holds NUL")
        root, rest = self._root_of(path)
        for _ in range(_RACES):
            try:
                parent, name = _Walk(root, path, follow, make_parents).run(rest)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise from_os_error(error, path) from error
            return Place(parent, name, path)
        raise Refusal("busy", f"{path}: keeps changing while it is walked")

    def _root_of(self, path: str) -> tuple[str, list[str]]:
        parts = _split(path)
        for root in self._roots:
            steps = _split(root)
            if parts[: len(steps)] == steps:
                return root, parts[len(steps) :]
        raise Refusal("outside", f"{path}: outside of the allowed directories")


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


class _Walk:
    """One walk: a stack of open directories, the root at its bottom."""

    def __init__(self, root: str, path: str, follow: bool, make_parents: bool) -> None:
        self._root = root
        self._path = path
        self._follow = follow
        self._make = make_parents
        self._stack: list[int] = []
        self._links = 0

    def run(self, parts: list[str]) -> tuple[int, str]:
        """(parent descriptor, name); everything else that was opened is closed again."""
        stack = self._stack
        try:
            stack.append(os.open(self._root, _DIRECTORY))
            todo = parts[::-1]
            name = "."
            while todo:
                part = todo.pop()
                if part == "..":
                    if len(stack) == 1:
                        raise Refusal("outside", f"{self._path}: leaves {self._root}")
                    os.close(stack.pop())
                    continue
                target = self._link(part) if todo or self._follow else None
                if target is not None:
                    self._turn(target, todo)
                elif todo:
                    stack.append(self._enter(part))
                else:
                    name = part
            return stack.pop(), name
        finally:
            for fd in stack:
                os.close(fd)

    def _link(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self._stack[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _turn(self, target: str, todo: list[str]) -> None:
        self._links += 1
        if self._links > LINKS:
            raise Refusal("invalid", f"{self._path}: too many symbolic links")
        steps = _split(target)
        if target.startswith("/"):
            base = _split(self._root)
            if steps[: len(base)] != base:
                raise Refusal("outside", f"{self._path}: a symbolic link leaves {self._root}")
            steps = steps[len(base) :]
            while len(self._stack) > 1:
                os.close(self._stack.pop())
        todo.extend(reversed(steps))

    def _enter(self, part: str) -> int:
        parent = self._stack[-1]
        try:
            return os.open(part, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not self._make:
                raise
        try:
            os.mkdir(part, 0o777, dir_fd=parent)
        except FileExistsError:
            pass
        return os.open(part, _DIRECTORY, dir_fd=parent)
