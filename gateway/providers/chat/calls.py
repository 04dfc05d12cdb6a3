"""Puts the pieces of tool calls together, however a server cuts and labels them.

Servers leave out the index, repeat id and name in every piece, split names, give a new call the old index, or
mix the pieces of several calls. Knows fragments; must not know events.
"""

from collections.abc import Collection

import msgspec

from gateway.messages import jsonbytes
from gateway.providers.base import UpstreamBroken
from gateway.providers.chat.chunks import Fragment

__all__ = ["MAX_ARGUMENTS", "MAX_CALLS", "Call", "Calls"]

MAX_CALLS = 256
"""Calls in one answer."""
MAX_ARGUMENTS = 8 * 1024 * 1024
"""Characters of the arguments of one call."""
_MAX_NAME = 512
_MAX_CHECKS = 24


class Call:
    """One call as far as it has come. `upstream_id` and `name` are the server's."""

    __slots__ = ("_checked", "_checks", "_complete", "_parts", "name", "size", "upstream_id")

    def __init__(self) -> None:
        self.upstream_id = ""
        self.name = ""
        self.size = 0
        self._parts: list[str] = []
        self._checked = -1
        self._checks = 0
        self._complete = False

    @property
    def arguments(self) -> str:
        """The arguments so far, as they came."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def begun(self) -> bool:
        """Whether any argument has come."""
        return self.size > 0

    def complete(self) -> bool:
        """Whether the arguments are a whole JSON value, so that no more can follow. Tried a limited number of
        times: a hostile server could make every piece look like an end."""
        if self._complete or self._checked == self.size or self._checks >= _MAX_CHECKS:
            return self._complete
        self._checked = self.size
        text = self.arguments.rstrip()
        if not text.endswith(("}", "]", '"', "null")):
            return False
        self._checks += 1
        try:
            jsonbytes.decode_any(text.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        self._complete = True
        return True

    def add(self, fragment: Fragment) -> str:
        """Takes a piece of this call; returns what it adds to the arguments. Raises `UpstreamBroken` past a
        limit."""
        self.upstream_id = self.upstream_id or fragment.id
        if fragment.name and not self.begun:
            self._add_name(fragment.name)
        more = fragment.arguments
        if not self.begun:
            more = more.lstrip()
        if not more or (self.begun and fragment.whole):
            return ""
        self.size += len(more)
        if self.size > MAX_ARGUMENTS:
            raise UpstreamBroken(f"a tool call with more than {MAX_ARGUMENTS} characters of arguments")
        self._parts.append(more)
        return more

    def _add_name(self, more: str) -> None:
        if more.startswith(self.name):  # repeated, or sent as far as it is known
            self.name = more
        elif more:
            self.name += more
        if len(self.name) > _MAX_NAME:
            raise UpstreamBroken("a tool call with an endless name")


class Calls:
    """Every call of one answer. `offered`: the names the server was told, to know where a split name ends."""

    def __init__(self, offered: Collection[str] = ()) -> None:
        self._offered = offered
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}
        self._last: Call | None = None
        self.count = 0

    def find(self, fragment: Fragment) -> Call | None:
        """The call that a fragment continues; None when it begins another."""
        if fragment.index is not None:
            call = self._by_index.get(fragment.index)
            return None if call is None or _another(call, fragment) else call
        if fragment.id:
            found = self._by_id.get(fragment.id)
            if found is None and self._last is not None and not self._last.upstream_id and not fragment.name:
                return self._last
            return found
        if not fragment.name or self._last is None:
            return self._last
        return self._last if self._names_last(self._last, fragment) else None

    def begin(self) -> Call:
        """A new call. Raises `UpstreamBroken` when there are too many."""
        self.count += 1
        if self.count > MAX_CALLS:
            raise UpstreamBroken(f"more than {MAX_CALLS} tool calls in one answer")
        return Call()

    def note(self, call: Call, fragment: Fragment) -> None:
        """Remembers by what labels the call goes."""
        self._last = call
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        if fragment.id:
            self._by_id[fragment.id] = call

    def _names_last(self, last: Call, fragment: Fragment) -> bool:
        """Whether a name without index and id belongs to the latest call: repeated, or a further part of it."""
        if last.begun:
            return fragment.name == last.name and not last.complete()
        whole = last.name + fragment.name
        if fragment.name == last.name or any(name.startswith(whole) for name in self._offered):
            return True
        return last.name not in self._offered


def _another(call: Call, fragment: Fragment) -> bool:
    """Whether a fragment with this call's index begins a new one."""
    repeats = fragment.name in ("", call.name)
    if fragment.id and call.upstream_id:
        if fragment.id == call.upstream_id:
            return False
        starts = fragment.arguments.lstrip().startswith("{")
        if repeats and call.begun and not starts and not call.complete():
            return False  # an id made up anew for every piece
        return bool(fragment.name) or call.complete()
    if fragment.name and call.begun and call.complete():
        return not repeats or bool(fragment.arguments.strip())
    return False
