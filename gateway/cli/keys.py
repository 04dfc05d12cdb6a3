"""`bulkhead keys`: who may call the gateway."""

from __future__ import annotations

import getpass
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from gateway.cli import issuing
from gateway.cli.common import (
    CommandFailed,
    WrongUsage,
    moment,
    operator,
    print_json,
    show_time,
    store_for_reading,
    store_for_writing,
)
from gateway.cli.issuing import NewKey, issue
from gateway.cli.limits_options import (
    OPTIONS,
    Concurrent,
    Models,
    RequestsPerMinute,
    TokensPerDay,
    TokensPerMinute,
    TokensPerMonth,
    UsdPerDay,
    UsdPerMonth,
    limits_from,
)
from gateway.settings import load_settings
from gateway.store.keys import KeyRecord, Keys

app = typer.Typer(help="Make, list and revoke the API keys of callers.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: bulkhead keys create laptop --subject alice --expires 90d")
def create(
    name: Annotated[str, typer.Argument(help="What the key is called in lists and in the audit log.")],
    subject: Annotated[
        str | None, typer.Option(help="Whom it stands for: sessions belong to the subject. Default: you.")
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="Narrow the key to this directory below WORKSPACE_ROOT.")
    ] = None,
    mode: Annotated[
        Literal["bind", "copy"] | None, typer.Option(help="How sandboxes of this key get the workspace.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h or a date.")] = None,
    rpm: RequestsPerMinute = None,
    tpm: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    tokens_per_month: TokensPerMonth = None,
    usd_per_day: UsdPerDay = None,
    usd_per_month: UsdPerMonth = None,
    concurrent: Concurrent = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print its secret, which is shown this once."""
    limits = limits_from(
        _said(rpm, tpm, tokens_per_day, tokens_per_month, usd_per_day, usd_per_month, concurrent, models)
    )
    settings = load_settings()
    ends = None if expires is None else moment(expires)
    if ends is not None and ends <= time.time():
        raise WrongUsage(f"--expires {expires} is in the past.")
    place = None if workspace is None else workspace.expanduser().resolve()
    if place is not None and not place.is_relative_to(settings.workspace_root.resolve()):
        raise WrongUsage(f"--workspace {place} is not below WORKSPACE_ROOT, {settings.workspace_root}.")
    wanted = NewKey(name, subject or getpass.getuser(), None if place is None else str(place), mode, ends, limits)
    with store_for_writing(settings) as engine:
        try:
            record, secret = issue(settings, engine, wanted, operator())
        except ValueError as error:
            raise WrongUsage(f"{error}.") from None
    if as_json:
        print_json({**_shown(record), "secret": secret})
        return
    typer.echo(f"Key {record.id} ({record.name}) for {record.subject}; the secret is not shown again:", err=True)
    typer.echo(secret)


@app.command("list", epilog="Example: bulkhead keys list --json")
def list_keys(as_json: AsJson = False) -> None:
    """Show every key ever made; never a secret."""
    settings = load_settings()
    with store_for_reading(settings) as engine:
        records = Keys(engine).list()
    if as_json:
        print_json([{**_shown(record), "state": _state(record)} for record in records])
        return
    # Nothing is cut off: what is long takes several lines.
    table = Table(
        Column("id", no_wrap=True),
        Column("name", overflow="fold"),
        Column("subject", overflow="fold"),
        Column("state", no_wrap=True),
        Column("workspace and limits", overflow="fold"),
        Column("dates (UTC)", no_wrap=True),
    )
    for record in records:
        dates = {"made": record.created_at, "ends": record.expires_at, "used": record.last_used_at}
        table.add_row(
            record.id,
            record.name,
            record.subject,
            _state(record),
            "\n".join(filter(None, [record.workspace, record.limits.words()])) or "-",
            "\n".join(f"{word} {show_time(stamp)[:10]}" for word, stamp in dates.items() if stamp is not None),
        )
    Console(markup=False).print(table)


@app.command(epilog="Example: bulkhead keys revoke 2be876cbf93f")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `bulkhead keys list` shows.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key for good; a running gateway refuses it within two seconds."""
    settings = load_settings()
    with store_for_writing(settings) as engine:
        record = issuing.revoke(settings, engine, key_id, operator())
    if record is None:
        raise CommandFailed(f"there is no key {key_id!r}; see `bulkhead keys list`.")
    if as_json:
        print_json(_shown(record))
        return
    typer.echo(f"Key {record.id} ({record.name}) is revoked.")


@app.command(epilog="Example: bulkhead keys limit 2be876cbf93f --rpm 60 --usd-per-month 25 --models 'claude-haiku-*'")
def limit(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `bulkhead keys list` shows.")],
    rpm: RequestsPerMinute = None,
    tpm: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    tokens_per_month: TokensPerMonth = None,
    usd_per_day: UsdPerDay = None,
    usd_per_month: UsdPerMonth = None,
    concurrent: Concurrent = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Change limits of a key, or show them; a running gateway follows within two seconds."""
    said = _said(rpm, tpm, tokens_per_day, tokens_per_month, usd_per_day, usd_per_month, concurrent, models)
    settings = load_settings()
    record: KeyRecord | None
    if any(text is not None for text in said.values()):
        with store_for_writing(settings) as engine:
            record = issuing.limit(settings, engine, key_id, lambda before: limits_from(said, before), operator())
    else:
        with store_for_reading(settings) as engine:
            record = Keys(engine).get(key_id)
    if record is None:
        raise CommandFailed(f"there is no key {key_id!r}; see `bulkhead keys list`.")
    if as_json:
        print_json(_shown(record))
        return
    typer.echo(f"Key {record.id} ({record.name}): {record.limits.words() or 'no limits of its own'}.")


def _said(*texts: str | None) -> dict[str, str | None]:
    """What was given for each limit; `texts` in the order of `OPTIONS`."""
    return dict(zip(OPTIONS, texts, strict=True))


def _shown(record: KeyRecord) -> dict[str, Any]:
    return {**asdict(record), "limits": record.limits.stored()}


def _state(record: KeyRecord) -> str:
    return record.refusal(time.time()) or "good"
