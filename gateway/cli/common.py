"""What every sub-command shares: its errors, the store it opens, JSON output, times as people write them.

Knows no sub-command.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import typer

from gateway.audit.errors import AuditUnavailable
from gateway.settings import Settings, SettingsError
from gateway.store.engine import StoreError, close_store, open_existing, open_store


class CommandFailed(Exception):
    """A command could not do what was asked: one sentence, with the remedy."""


class WrongUsage(Exception):
    """An argument makes no sense: one sentence that names it."""


REPORTED = (CommandFailed, WrongUsage, SettingsError, StoreError, AuditUnavailable)
"""Errors whose message is all a person needs."""

_WRONG = (WrongUsage, SettingsError)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def exit_code(error: Exception) -> int:
    """2 when the person's input is at fault, else 1."""
    return 2 if isinstance(error, _WRONG) else 1


@contextmanager
def store_for_writing(settings: Settings) -> Iterator[sa.Engine]:
    """The store, made and migrated if need be."""
    settings.prepare_data_dir()
    engine = open_store(settings.store_url)
    try:
        yield engine
    finally:
        close_store(engine)


@contextmanager
def store_for_reading(settings: Settings) -> Iterator[sa.Engine]:
    """The store as it is; `StoreError` if there is none."""
    engine = open_existing(settings.store_url)
    try:
        yield engine
    finally:
        close_store(engine)


def print_json(value: Any) -> None:
    """ASCII only, so that text from a sandbox cannot steer the terminal."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def operator() -> str:
    """Who runs this command, for the audit log."""
    try:
        return f"{getpass.getuser()} (uid {os.getuid()})"
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def moment(text: str) -> float:
    """UNIX seconds of `30d` (from now), or of a date like 2030-01-31. Raises `WrongUsage`."""
    span = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if span:
        return time.time() + int(span[1]) * _UNITS[span[2]]
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(f"{text!r} is neither a span like 30d or 12h nor a date like 2030-01-31.") from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def show_time(stamp: float | None) -> str:
    """UTC to the second; a dash for never."""
    return "-" if stamp is None else datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
