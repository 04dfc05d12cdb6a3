"""The hash chain: how an event is spelled, hashed and linked, and how the head is sealed.

hash(n) = SHA-256(hash(n-1) as 32 bytes, then the canonical JSON of seq, ts, kind, session, principal, intent
and body). The head (last seq and hash) carries an HMAC under a key that is not in the database, so that
cutting the tail off, or writing the whole chain anew, shows. Touches nothing but the key file.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.audit.body import canonical
from gateway.audit.errors import AuditUnavailable

GENESIS = "0" * 64
"""What the first event follows."""

KEY_BYTES = 32

_quote = json.encoder.encode_basestring_ascii


class Announcement:
    """Stands for the number of an event that has no place in the chain yet; `seq` is set when it gets one."""

    __slots__ = ("seq",)

    def __init__(self) -> None:
        self.seq: int | None = None


@dataclass(slots=True)
class Entry:
    """An event before it has its place in the chain. `body` is canonical JSON.

    `announced`, where given, learns the event's number; `intent` may be what an earlier event announced.
    """

    ts: str
    kind: str
    session: str | None
    principal: str | None
    intent: int | Announcement | None
    body: str
    announced: Announcement | None = None

    @property
    def intent_seq(self) -> int | None:
        """The number of the intent, known once the chain has it."""
        return self.intent.seq if isinstance(self.intent, Announcement) else self.intent


def spell(seq: int, event: Entry | StoredEvent) -> str:
    """The canonical JSON that is hashed. Raises `TypeError` when a field is not of its type."""
    intent = event.intent_seq if isinstance(event, Entry) else event.intent
    return (
        f'{{"body":{event.body},"intent":{_number(intent)},"kind":{_text(event.kind)},'
        f'"principal":{_text(event.principal)},"seq":{seq},"session":{_text(event.session)},'
        f'"ts":{_text(event.ts)}}}'
    )


def _text(value: str | None) -> str:
    return "null" if value is None else _quote(value)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored or exported; nothing here is trusted until verified."""

    seq: int
    ts: str
    kind: str
    session: str | None
    principal: str | None
    intent: int | None
    body: str
    prev_hash: str
    hash: str

    def digest(self, seq: int | None = None) -> str | None:
        """The hash the content asks for (at place `seq`, if given); None if the content is no event."""
        try:
            text = spell(self.seq if seq is None else seq, self)
            return sha256(bytes.fromhex(self.prev_hash) + text.encode("ascii")).hexdigest()
        except (TypeError, ValueError):
            return None

    def as_line(self) -> str:
        """Canonical JSON of all of it: one line of an export."""
        return (
            f'{{"body":{self.body},"hash":{_text(self.hash)},"intent":{_number(self.intent)},'
            f'"kind":{_text(self.kind)},"prev_hash":{_text(self.prev_hash)},'
            f'"principal":{_text(self.principal)},"seq":{self.seq},"session":{_text(self.session)},'
            f'"ts":{_text(self.ts)}}}'
        )

    def as_json(self) -> dict[str, Any]:
        """For display: the body parsed where it can be."""
        try:
            body = json.loads(self.body)
        except (TypeError, ValueError):
            body = {"unreadable": repr(self.body)}
        return {
            "seq": self.seq,
            "ts": self.ts,
            "kind": self.kind,
            "session": self.session,
            "principal": self.principal,
            "intent": self.intent,
            "body": body,
            "prev_hash": self.prev_hash,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: seq 0 and `GENESIS` when it is empty."""

    seq: int
    hash: str
    mac: str


class SealKey:
    """The key that seals heads. Keep its file apart from copies of the database."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise AuditUnavailable(f"the audit key must have {KEY_BYTES} bytes; restore the file from a backup")
        self._key = key

    @classmethod
    def read(cls, path: Path) -> SealKey:
        """The key in the file. Raises `AuditUnavailable` when it cannot be had."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise AuditUnavailable(f"the audit key {path} cannot be read: {error.strerror}") from error

    @classmethod
    def make(cls, path: Path) -> SealKey:
        """A new key in a new file (mode 0600), on disk when this returns. Raises `OSError`."""
        key = secrets.token_bytes(KEY_BYTES)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return cls(key)

    def seal(self, seq: int, hash_: str) -> Head:
        message = f"bulkhead audit head {seq} {hash_}".encode()
        return Head(seq, hash_, hmac.new(self._key, message, sha256).hexdigest())

    def holds(self, head: Head) -> bool:
        """Whether this key sealed that head."""
        expected = self.seal(head.seq, head.hash).mac
        return isinstance(head.mac, str) and hmac.compare_digest(expected.encode(), head.mac.encode())


def link(entries: Sequence[Entry], head: Head) -> list[StoredEvent]:
    """Give each entry its place after `head`."""
    events = []
    seq, previous = head.seq, head.hash
    for entry in entries:
        seq += 1
        digest = sha256(bytes.fromhex(previous) + spell(seq, entry).encode("ascii")).hexdigest()
        if entry.announced is not None:
            entry.announced.seq = seq
        events.append(
            StoredEvent(
                seq,
                entry.ts,
                entry.kind,
                entry.session,
                entry.principal,
                entry.intent_seq,
                entry.body,
                previous,
                digest,
            )
        )
        previous = digest
    return events


def utc_now() -> str:
    """The present as events spell it: RFC 3339, UTC, microseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_whole_second(seconds)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=2)
def _whole_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def clean(label: str | None) -> str | None:
    """A name as columns hold it: valid Unicode without control characters, at most 256 characters."""
    if label is None:
        return None
    if label.isascii() and label.isprintable() and len(label) <= 256:
        return label
    valid = label[:256].encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in valid)


def make_entry(
    kind: str,
    *,
    session: str | None,
    principal: str | None,
    body: str,
    intent: int | Announcement | None = None,
    announced: Announcement | None = None,
) -> Entry:
    """An entry of this moment."""
    return Entry(utc_now(), kind, clean(session), clean(principal), intent, body, announced)


def canonical_head(head: Head) -> str:
    """The last line of an export."""
    return canonical({"head": {"seq": head.seq, "hash": head.hash, "mac": head.mac}})
