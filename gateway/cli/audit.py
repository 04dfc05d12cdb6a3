"""`bulkhead audit`: read, verify and export the log. Only reads; works beside a running gateway."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from gateway.audit.chain import Head, SealKey
from gateway.audit.export import export
from gateway.audit.query import Filter, find, related
from gateway.audit.verify import Report, problems, read_anchor, verify_file, verify_store
from gateway.cli.common import CommandFailed, WrongUsage, print_json, store_for_reading
from gateway.settings import Settings, load_settings

app = typer.Typer(help="Read, verify and export the audit log.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

BODY_WIDTH = 100
"""Characters of a body that the list shows."""


@app.command("list", epilog="Example: bulkhead audit list --kind 'tool.*' --session s-1f0c --limit 20")
def list_events(
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    principal: Annotated[str | None, typer.Option(help="Only this subject.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind; may end in *.")] = None,
    since: Annotated[str | None, typer.Option(help="Only from this UTC time on: 2030-01-31T12:00.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the newest events that match."""
    with store_for_reading(load_settings()) as engine:
        events = find(engine, Filter(session, principal, kind, since, limit))
    if as_json:
        print_json([event.as_json() for event in events])
        return
    table = Table("seq", "time (UTC)", "kind", "session", "principal", "body", expand=True)
    for event in events:
        body = event.body if len(event.body) <= BODY_WIDTH else event.body[: BODY_WIDTH - 3] + "..."
        table.add_row(str(event.seq), event.ts[:19], event.kind, event.session or "-", event.principal or "-", body)
    Console(markup=False).print(table)


@app.command(epilog="Example: bulkhead audit show 42")
def show(
    seq: Annotated[int, typer.Argument(min=1, help="Number of the event.")],
    as_json: AsJson = False,
) -> None:
    """Show an event whole, with the intent it answers and what answers it."""
    with store_for_reading(load_settings()) as engine:
        events = related(engine, seq)
    if not events:
        raise CommandFailed(f"there is no event {seq}; see `bulkhead audit list`.")
    if as_json:
        print_json([event.as_json() for event in events])
        return
    for event in events:
        marker = "*" if event.seq == seq else " "
        typer.echo(f"{marker} {event.seq}  {event.ts}  {event.kind}  {event.session or '-'}  {event.principal or '-'}")
        typer.echo(json.dumps(event.as_json()["body"], indent=2, sort_keys=True))


@app.command(epilog="Example: bulkhead audit verify audit.jsonl --key /safe/audit.key")
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; without it, the store's own log.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key file; default: the data directory's.")] = None,
    anchor: Annotated[
        Path | None, typer.Option(help="An older export, kept elsewhere: the log must still contain its head.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no event was altered, removed, reordered or cut off; exits 1 if one was."""
    settings = load_settings()
    old_head = None if anchor is None else _anchor(anchor)
    if file is None:
        with store_for_reading(settings) as engine:
            report = verify_store(engine, SealKey.read(key or settings.audit_key_path), anchor=old_head)
    else:
        report = _verify_export(file, key, settings, old_head)
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command("export", epilog="Example: bulkhead audit export --output audit.jsonl")
def export_log(
    format_: Annotated[Literal["jsonl"], typer.Option("--format", help="One canonical event a line.")] = "jsonl",
    output: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Write the log as lines that `bulkhead audit verify FILE` can check anywhere; the last line is the head."""
    with store_for_reading(load_settings()) as engine:
        if output is None:
            export(engine, sys.stdout)
            return
        try:
            with output.open("x", encoding="utf-8", newline="\n") as file:
                count = export(engine, file)
        except FileExistsError:
            raise CommandFailed(f"{output} exists; name another file.") from None
        except OSError as error:
            raise CommandFailed(f"{output} cannot be written: {error.strerror}.") from None
    typer.echo(f"{count} events written to {output}.", err=True)


def _anchor(path: Path) -> Head:
    try:
        return read_anchor(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"--anchor: {error}.") from None


def _verify_export(file: Path, key: Path | None, settings: Settings, anchor: Head | None) -> Report:
    """The data directory's key is taken if it is there; an auditor elsewhere may have none."""
    if key is None and settings.audit_key_path.is_file():
        key = settings.audit_key_path
    try:
        return verify_file(file, None if key is None else SealKey.read(key), anchor=anchor)
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}.") from None


def _show(report: Report) -> None:
    for line in problems(report):
        typer.echo(line)
    span = f", {report.first} to {report.last}" if report.events else ""
    typer.echo(f"{'whole' if report.ok else 'BROKEN'}: {report.events} events{span}")
    if report.unanswered:
        shown = ", ".join(map(str, report.unanswered[:10])) + (" ..." if len(report.unanswered) > 10 else "")
        typer.echo(f"{len(report.unanswered)} intents without a result (running, or cut off by a crash): {shown}")
    if not report.head_checked:
        typer.echo("The seal of the head was not checked: no key. A cut-off end would not show.")
