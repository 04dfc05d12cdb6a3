"""glob: find files by pattern, newest first, in bounded time, without following a link.

`**` any number of directories, `*` `?` `[a-z]` `[!a]` inside a name, `{a,b}` alternatives. A name is matched in
time proportional to name times pattern (one fall-back point, no recursion), so no pattern can make it explode.
"""

from __future__ import annotations

import itertools
import os
import stat
import time

import wire
from refusal import Params, Refusal, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from paths import Roots

VISIT_LIMIT = 200_000
TIME_LIMIT = 20.0
RESULT_LIMIT = 10_000
PATTERN_LIMIT = 1024
ALTERNATIVES = 64
DEPTH = 128
PRUNED = frozenset((".git",))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Item = tuple[str, bool, frozenset[str]]
_ANY = ("*", False, frozenset[str]())
_ONE = ("?", False, frozenset[str]())


def expand(pattern: str) -> list[str]:
    """The patterns behind {a,b}, nested ones too; an unclosed brace is an ordinary character."""
    done: list[str] = []
    todo = [pattern]
    while todo:
        text = todo.pop()
        found = _first_brace(text)
        if found is None:
            done.append(text)
        else:
            start, commas, end = found
            cuts = [start, *commas, end]
            options = [text[a + 1 : b] for a, b in itertools.pairwise(cuts)]
            todo.extend(text[:start] + option + text[end + 1 :] for option in reversed(options))
        if len(done) + len(todo) > ALTERNATIVES:
            raise Refusal("invalid", f"pattern has more than {ALTERNATIVES} alternatives")
    return done


def _first_brace(text: str) -> tuple[int, list[int], int] | None:
    start = text.find("{")
    while start >= 0:
        depth, commas = 0, []
        for at in range(start, len(text)):
            if text[at] == "{":
                depth += 1
            elif text[at] == "," and depth == 1:
                commas.append(at)
            elif text[at] == "}":
                depth -= 1
                if not depth:
                    if commas:
                        return start, commas, at
                    break
        start = text.find("{", start + 1)
    return None


def compile_name(pattern: str) -> list[Item]:
    """One path segment as a list of items: literal characters, ?, *, character sets."""
    items: list[Item] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not items or items[-1] is not _ANY:
                items.append(_ANY)
        elif char == "?":
            items.append(_ONE)
        elif char == "[" and (end := _set_end(pattern, at)) > 0:
            negated = pattern[at] in "!^"
            items.append(("[", negated, _members(pattern[at + negated : end])))
            at = end + 1
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            items.append((char, True, frozenset()))
    return items


def _set_end(pattern: str, at: int) -> int:
    start = at + 1 if at < len(pattern) and pattern[at] in "!^" else at
    return pattern.find("]", start + 1)


def _members(body: str) -> frozenset[str]:
    members: set[str] = set()
    at = 0
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == "-":
            low, high = ord(body[at]), ord(body[at + 2])
            members.update(chr(code) for code in range(low, min(high, low + 0x3000) + 1))
            at += 3
        else:
            members.add(body[at])
            at += 1
    return frozenset(members)


def match_name(name: str, items: Sequence[Item]) -> bool:
    """Whether the whole name matches: greedy with one fall-back point, the last star."""
    at = item = 0
    star = retry = -1
    while at < len(name):
        if item < len(items):
            kind, literal, members = items[item]
            if kind == "*" and not literal:
                star, retry = item, at
                item += 1
                continue
            char = name[at]
            if kind == char if literal else kind == "?" or (kind == "[" and (char in members) is not items[item][1]):
                at += 1
                item += 1
                continue
        if star < 0:
            return False
        retry += 1
        at, item = retry, star + 1
    return all(kind == "*" and not literal for kind, literal, _ in items[item:])


class Pattern:
    """A whole pattern as a machine over path segments; a state is a set of positions in it."""

    def __init__(self, text: str) -> None:
        self._segments: list[list[Item] | None] = []
        for part in text.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                raise Refusal("outside", "pattern must not contain ..")
            if part != "**":
                self._segments.append(compile_name(part))
            elif not self._segments or self._segments[-1] is not None:
                self._segments.append(None)
        if not self._segments:
            raise Refusal("invalid", "pattern is empty")
        if self._segments[-1] is None:
            self._segments.append([_ANY])
        self.start = self._closure({0})

    def _closure(self, positions: set[int]) -> frozenset[int]:
        for at in list(positions):
            if at < len(self._segments) and self._segments[at] is None:
                positions.add(at + 1)
        return frozenset(positions)

    def step(self, state: frozenset[int], name: str) -> tuple[frozenset[int], bool]:
        """(state inside a directory of that name, whether the name itself is a match)."""
        following: set[int] = set()
        matched = False
        for at in state:
            if at >= len(self._segments):
                continue
            segment = self._segments[at]
            if segment is None:
                following.add(at)
            elif match_name(name, segment):
                if at + 1 == len(self._segments):
                    matched = True
                else:
                    following.add(at + 1)
        return self._closure(following), matched


class _Search:
    def __init__(self, patterns: list[Pattern]) -> None:
        self._patterns = patterns
        self._deadline = time.monotonic() + TIME_LIMIT
        self._visited = 0
        self.found: list[tuple[int, str]] = []
        self.truncated = False

    def run(self, top: int, prefix: str) -> None:
        self._directory(top, prefix, [pattern.start for pattern in self._patterns], 0)

    def _directory(self, fd: int, prefix: str, states: list[frozenset[int]], depth: int) -> None:
        below: list[tuple[str, list[frozenset[int]]]] = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._visited += 1
                    if self._visited > VISIT_LIMIT or time.monotonic() > self._deadline:
                        self.truncated = True
                        return
                    steps = [p.step(s, entry.name) for p, s in zip(self._patterns, states, strict=True) if s]
                    if any(matched for _, matched in steps):
                        self._add(entry, prefix)
                    if entry.name not in PRUNED and entry.is_dir(follow_symlinks=False):
                        following = [
                            p.step(s, entry.name)[0] if s else s for p, s in zip(self._patterns, states, strict=True)
                        ]
                        if any(following):
                            below.append((entry.name, following))
        except OSError:
            return  # unreadable or gone: it has no files to show
        if depth >= DEPTH:
            self.truncated = self.truncated or bool(below)
            return
        for name, following in below:
            if self.truncated:
                return
            try:
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError:
                continue
            try:
                self._directory(child, f"{prefix}/{name}", following, depth + 1)
            finally:
                os.close(child)

    def _add(self, entry: os.DirEntry[str], prefix: str) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            return
        if stat.S_ISREG(found.st_mode):
            self.found.append((found.st_mtime_ns, f"{prefix}/{entry.name}"))


def glob(roots: Roots, params: Params) -> tuple[dict[str, Any], bytes]:
    text = params.text("pattern", limit=PATTERN_LIMIT)
    path = params.text("path")
    limit = params.whole("limit", 100, 1, RESULT_LIMIT)
    params.done()
    base = path.rstrip("/")
    if text.startswith("/"):
        if not text.startswith(base + "/"):
            raise Refusal("outside", "an absolute pattern must start with the path searched")
        text = text[len(base) + 1 :]
    search = _Search([Pattern(option) for option in expand(text)])
    with roots.place(path) as place:
        top = place.open(os.O_RDONLY | os.O_DIRECTORY)
    try:
        search.run(top, base)
    except OSError as error:
        raise from_os_error(error, path) from error
    finally:
        os.close(top)
    search.found.sort(key=lambda item: (-item[0], item[1]))
    paths = [name for _, name in search.found[:limit]]
    return {
        "count": len(paths),
        "truncated": search.truncated or len(search.found) > limit,
    }, wire.dumps(paths)
