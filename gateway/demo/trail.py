"""The audit trail of the demo's gateway, read and verified from outside after the gateway has ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from gateway.audit.chain import SealKey, StoredEvent
from gateway.audit.errors import AuditUnavailable
from gateway.audit.events import CATALOGUE
from gateway.audit.query import Filter, find
from gateway.audit.verify import problems, verify_store
from gateway.demo.failure import DemoFailed
from gateway.demo.transcript import plain
from gateway.settings import Settings
from gateway.store.engine import StoreError, close_store, open_existing

MOST_EVENTS = 1000
OPENING_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the trail: an intent with its result, or a note."""

    seq: int
    time: str
    kind: str
    what: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Trail:
    """The trail and what verifying it found. `answered` counts tool calls that have an intent and a result."""

    steps: Sequence[Step] = ()
    events: int = 0
    whole: bool = False
    problems: Sequence[str] = ("The audit log was not read.",)
    unanswered: int = 0
    answered: int = 0


async def opening_facts(settings: Settings) -> dict[str, Any]:
    """What the gateway wrote down when it started: `driver`, `unenforced`. It may listen a moment before that is
    on disk. Raises `DemoFailed`."""
    deadline = time.monotonic() + OPENING_SECONDS
    while not (events := _read(settings, Filter(kind="gateway.start", limit=1))):
        if time.monotonic() > deadline:
            raise DemoFailed("The gateway serves but has not written its start into the audit log.")
        await asyncio.sleep(POLL_SECONDS)
    body: dict[str, Any] = json.loads(events[-1].body)
    return body


def read_trail(settings: Settings) -> Trail:
    """Read everything and verify it. Raises `DemoFailed` when it cannot be read."""
    events = _read(settings, Filter(limit=MOST_EVENTS))
    engine = open_existing(settings.store_url)
    try:
        report = verify_store(engine, SealKey.read(settings.audit_key_path))
    except AuditUnavailable as error:
        raise DemoFailed(f"The audit log cannot be verified: {error}") from error
    finally:
        close_store(engine)
    place = str(settings.workspace_root.parent)
    answers = {event.intent: event for event in events if event.intent is not None}
    intents = [event for event in events if event.kind == "tool.intent"]
    return Trail(
        steps=[_step(event, answers.get(event.seq), place) for event in events if event.intent is None],
        events=report.events,
        whole=report.ok,
        problems=list(problems(report)),
        unanswered=len(report.unanswered),
        answered=sum(intent.seq in answers for intent in intents),
    )


def print_trail(console: Console, trail: Trail) -> None:
    """The trail as a table."""
    columns = [
        Column(name, no_wrap=True, overflow="ellipsis") for name in ("seq", "time (UTC)", "kind", "what", "outcome")
    ]
    columns[3].ratio = 1
    table = Table(*columns, box=None, padding=(0, 1), expand=True)
    for step in trail.steps:
        table.add_row(str(step.seq), step.time, step.kind, step.what, step.outcome)
    console.print(table)


def _read(settings: Settings, wanted: Filter) -> list[StoredEvent]:
    try:
        engine = open_existing(settings.store_url)
    except StoreError as error:
        raise DemoFailed(f"The audit log cannot be read: {error}") from error
    try:
        return find(engine, wanted)
    finally:
        close_store(engine)


def _step(event: StoredEvent, answer: StoredEvent | None, place: str) -> Step:
    """`place` is the demo's directory, which is too long to be shown in every line."""
    body = json.loads(event.body)
    outcome = "" if answer is None else _outcome(json.loads(answer.body))
    if answer is None and CATALOGUE[event.kind].role == "intent":
        outcome = "no result"
    what = " ".join(_what(event.kind, body).replace(place, "…").split())
    return Step(event.seq, event.ts[11:23], event.kind, plain(what), plain(outcome))


def _what(kind: str, body: dict[str, Any]) -> str:
    """The few words of a body that tell one event from the next."""
    if kind == "tool.intent":
        given = body["input"]
        return f"{body['tool']} {given.get('command') or given.get('file_path') or ''}"
    if kind == "model.call":
        return f"step {body['step']}, {body['bytes']} bytes to {body['model']}"
    if kind == "session.open":
        return f"{body['workspace']['mode']} {body['workspace']['source']}"
    shown = {
        "key.created": ("name",),
        "gateway.start": ("version", "driver"),
        "gateway.stop": ("reason",),
        "session.close": ("reason",),
        "turn.start": ("client",),
        "turn.end": ("stop_reason", "calls", "error"),
    }.get(kind, ("reason", "message"))
    return ", ".join(str(body[name]) for name in shown if body.get(name) is not None)


def _outcome(body: dict[str, Any]) -> str:
    if "container" in body:
        return f"{body['driver']}, uid {body['uid']}"
    told = body.get("outcome") or body.get("error") or body.get("stop_reason") or body.get("reason") or ""
    code = f", exit {body['exit']}" if body.get("exit") is not None else ""
    time = f", {body['ms']:.0f} ms" if "ms" in body else ""
    return f"{told}{code}{time}"
