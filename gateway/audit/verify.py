"""Proof that the log is whole: the chain is walked once and every break is named.

What it cannot see: a database *and* key file put back together to an earlier state. For that keep a head
elsewhere (the last line of an export) and pass it as `anchor`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from gateway.audit.body import canonical
from gateway.audit.chain import GENESIS, Head, SealKey, StoredEvent, canonical_head
from gateway.audit.events import CATALOGUE
from gateway.audit.query import stream
from gateway.audit.writer import read_head
from gateway.store.engine import reading

Break = Literal[
    "altered",
    "removed",
    "reordered",
    "relinked",
    "truncated",
    "appended",
    "forged_head",
    "orphan",
    "unanchored",
]

BREAKS: dict[Break, str] = {
    "altered": "the event's content or hash was changed",
    "removed": "events are missing here",
    "reordered": "the event stood at another place",
    "relinked": "the event does not follow the one before it: one of the two was written anew",
    "truncated": "the end of the log was cut off",
    "appended": "events follow the sealed head: they were not written by the gateway",
    "forged_head": "the head is missing, or was not sealed with this key",
    "orphan": "a result answers no open intent",
    "unanchored": "the log does not contain the head it is compared with",
}

MAX_PROBLEMS = 200
_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Problem:
    """One break, at event `seq` (0: the log as a whole)."""

    seq: int
    problem: Break
    detail: str


@dataclass(slots=True)
class Report:
    """What verification found. `unanswered` are intents without a result: calls that a crash cut off, or that
    still run. Problems past `MAX_PROBLEMS` are only counted."""

    events: int = 0
    first: str | None = None
    last: str | None = None
    head: Head | None = None
    head_checked: bool = False
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    unanswered: list[int] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.problem_count == 0


def verify_store(engine: sa.Engine, key: SealKey | None, *, anchor: Head | None = None) -> Report:
    """Verify the log in a database; the gateway may go on writing meanwhile."""
    with reading(engine) as connection:
        head = read_head(connection)
        walk = _Walk(anchor)
        for event in stream(connection):
            walk.step(event)
    return walk.finish(head, key)


def verify_file(path: Path, key: SealKey | None, *, anchor: Head | None = None) -> Report:
    """Verify an export, without a database. Without the key the seal stays unchecked (`head_checked`)."""
    walk = _Walk(anchor)
    head: Head | None = None
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if head is not None:
                walk.problem(walk.seq, "appended", f"line {number} follows the head")
                break
            parsed = _parse(line.rstrip("\n"))
            if isinstance(parsed, Head):
                head = parsed
            elif parsed is None:
                walk.unreadable(number)
            else:
                walk.step(parsed)
    return walk.finish(head, key)


def read_anchor(path: Path) -> Head:
    """The head at the end of an export. Raises `ValueError` if there is none."""
    last = ""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            last = line
    parsed = _parse(last.rstrip("\n"))
    if not isinstance(parsed, Head):
        raise ValueError(f"{path} does not end with a head")
    return parsed


class _Walk:
    """The walk over the chain. After a break the next event is not blamed for its link to the broken one."""

    def __init__(self, anchor: Head | None) -> None:
        self.seq = 0
        self._report = Report()
        self._anchor = anchor
        self._anchored = anchor is None or (anchor.seq, anchor.hash) == (0, GENESIS)
        self._previous: str | None = GENESIS
        self._open: dict[int, str] = {}

    def problem(self, seq: int, problem: Break, detail: str) -> None:
        self._report.problem_count += 1
        if len(self._report.problems) < MAX_PROBLEMS:
            self._report.problems.append(Problem(seq, problem, detail))

    def unreadable(self, line: int) -> None:
        self.seq += 1
        self._previous = None
        self._report.events += 1
        self.problem(self.seq, "altered", f"line {line} is not an event in canonical form")

    def step(self, event: StoredEvent) -> None:
        report = self._report
        report.events += 1
        report.first = report.first or event.ts
        report.last = event.ts
        expected = self.seq + 1
        if event.seq > expected:
            gap = f"event {expected}" if event.seq == expected + 1 else f"events {expected} to {event.seq - 1}"
            self.problem(expected, "removed", f"{gap} missing")
            self._previous = None
        elif event.seq < expected:
            self.problem(event.seq, "reordered", f"found after event {self.seq}")
            self._previous = None
        self.seq = max(self.seq, event.seq)
        if event.digest() != event.hash:
            self._name_damage(event, expected)
            self._previous = None
        else:
            if self._previous is not None and event.prev_hash != self._previous:
                self.problem(event.seq, "relinked", BREAKS["relinked"])
            self._previous = event.hash
        if self._anchor is not None and (event.seq, event.hash) == (self._anchor.seq, self._anchor.hash):
            self._anchored = True
        self._answer(event)

    def finish(self, head: Head | None, key: SealKey | None) -> Report:
        report = self._report
        report.head = head
        report.head_checked = key is not None
        if head is None:
            self.problem(0, "forged_head", "the head is missing")
        elif key is not None and not key.holds(head):
            self.problem(head.seq, "forged_head", "the head was not sealed with this key")
        elif head.seq > self.seq:
            self.problem(self.seq + 1, "truncated", f"events {self.seq + 1} to {head.seq} missing at the end")
        elif head.seq < self.seq:
            self.problem(head.seq + 1, "appended", f"events follow the sealed head {head.seq}")
        elif self._previous is not None and head.hash != self._previous:
            self.problem(head.seq, "relinked", "the last event is not the one that was sealed")
        if not self._anchored and self._anchor is not None:
            self.problem(self._anchor.seq, "unanchored", BREAKS["unanchored"])
        report.unanswered = sorted(self._open)
        return report

    def _name_damage(self, event: StoredEvent, expected: int) -> None:
        """A moved event still fits its hash under the number it had: here, or somewhere near."""
        around = (event.seq + offset for step in range(1, _WINDOW) for offset in (step, -step))
        former = next((seq for seq in (expected, *around) if event.digest(seq) == event.hash), None)
        if former is None:
            self.problem(event.seq, "altered", "its content does not give its hash")
        else:
            self.problem(event.seq, "reordered", f"it was written as event {former}")

    def _answer(self, event: StoredEvent) -> None:
        facts = CATALOGUE.get(event.kind)
        if facts is None or facts.role == "note":
            return
        if facts.role == "intent":
            self._open[event.seq] = event.kind
        elif event.intent is None or self._open.pop(event.intent, None) not in facts.of:
            self.problem(event.seq, "orphan", f"answers {event.intent}, which is no open intent")


def _parse(line: str) -> StoredEvent | Head | None:
    """A line of an export, or None. Only the canonical spelling counts: no key may be said twice."""
    try:
        value = json.loads(line)
        if set(value) == {"head"}:
            head = Head(**value["head"])
            return head if canonical_head(head) == line and isinstance(head.seq, int) else None
        value["body"] = canonical(value["body"])
        event = StoredEvent(**value)
        sound = event.as_line() == line and isinstance(event.seq, int)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return event if sound else None


def problems(report: Report) -> Iterator[str]:
    """The problems as sentences, for people."""
    for problem in report.problems:
        yield f"event {problem.seq}: {problem.problem}: {problem.detail}"
    hidden = report.problem_count - len(report.problems)
    if hidden > 0:
        yield f"and {hidden} more"


def kinds(found: Iterable[Problem]) -> set[Break]:
    """Which sorts of breaks there are."""
    return {problem.problem for problem in found}
