"""Tool names and call ids that both sides accept, translated there and back without any memory.

Names too long for a chat server are shortened, ids outside its pattern replaced; both by hashing, so that
the same conversation always gives the same bytes. Knows dialects; must not know messages.
"""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable

from gateway.providers.chat.dialects import Dialect

__all__ = ["CallIds", "Names", "new_call_id"]

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_WRAPPED = "toolu_bh_"
"""Begins an id that holds an upstream's own id, which has characters the Messages API does not allow."""
_LONGEST_WRAPPED = 96
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HASH_LENGTH = 8


class Names:
    """The names of one request's tools, outward and back. Two tools never get the same outward name."""

    def __init__(self, dialect: Dialect, names: Iterable[str]) -> None:
        self._limit = dialect.tool_name_length
        self._outward: dict[str, str] = {}
        self._inward: dict[str, str] = {}
        for name in names:
            self._add(name)

    @property
    def offered(self) -> frozenset[str]:
        """The outward names."""
        return frozenset(self._inward)

    def outward(self, name: str) -> str:
        """The name the server is told."""
        return self._outward.get(name) or self._add(name)

    def inward(self, name: str) -> str:
        """The client's name of what the server called; an unknown name stays as it is."""
        return self._inward.get(name, name)

    def _add(self, name: str) -> str:
        if name in self._outward:
            return self._outward[name]
        short = name
        if len(name) > self._limit or not _NAME.fullmatch(name):
            mark = _letters(name, _HASH_LENGTH)
            short = f"{_NOT_NAME.sub('_', name)[: self._limit - _HASH_LENGTH - 1]}_{mark}"
        for attempt in range(1, 100):
            if short not in self._inward:
                break
            short = f"{short[: self._limit - _HASH_LENGTH - 1]}_{_letters(f'{name} {attempt}', _HASH_LENGTH)}"
        self._outward[name] = short
        self._inward[short] = name
        return short


class CallIds:
    """The ids of tool calls. `taken` are the ids of the conversation so far, as the client has them."""

    def __init__(self, dialect: Dialect, taken: Iterable[str] = ()) -> None:
        self._pattern = re.compile(dialect.tool_id)
        self._length = dialect.tool_id_length
        self.taken = set(taken)

    def outward(self, call: str) -> str:
        """The id the server is told: its own where it gave one, a derived one where it would refuse ours."""
        own = _unwrapped(call)
        for candidate in (own, call):
            if candidate is not None and self._pattern.fullmatch(candidate):
                return candidate
        return _letters(call, self._length)

    def inward(self, call: str | None) -> str:
        """A legal id the conversation does not have yet, for a new call of the server; taken from now on."""
        found = new_call_id()
        if call and _ID.fullmatch(call) and not call.startswith(_WRAPPED):
            found = call
        elif call and len(call) <= _LONGEST_WRAPPED:
            found = _wrapped(call)
        if found in self.taken:  # some servers count from 0 in every answer
            found = new_call_id()
        self.taken.add(found)
        return found


def new_call_id() -> str:
    """A random id in the API's own form."""
    return f"toolu_{secrets.token_hex(12)}"


def _wrapped(call: str) -> str:
    encoded = base64.urlsafe_b64encode(call.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    return _WRAPPED + encoded


def _unwrapped(call: str) -> str | None:
    if not call.startswith(_WRAPPED):
        return None
    text = call[len(_WRAPPED) :]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _letters(text: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    found = []
    for _ in range(length):
        number, at = divmod(number, len(_LETTERS))
        found.append(_LETTERS[at])
    return "".join(found)
