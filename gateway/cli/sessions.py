"""`bulkhead sessions`: which sandboxes were opened for whom. Reads the store; closing asks the running gateway."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Column, Table

from gateway.cli.common import (
    CommandFailed,
    WrongUsage,
    operator,
    print_json,
    show_time,
    store_for_reading,
    store_for_writing,
)
from gateway.cli.issuing import NewKey, issue, revoke
from gateway.settings import Settings, load_settings
from gateway.store.sessions import SessionRecord, SessionRecords

app = typer.Typer(help="List, show and close sandbox sessions.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The id that `bulkhead sessions list` shows.")]

KEY_SECONDS = 120.0
"""Life of the key that `close` makes for itself, should it not come to revoke it."""

CLOSE_SECONDS = 60.0
"""For the gateway to remove a sandbox."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@app.command("list", epilog="Example: bulkhead sessions list --open --subject alice")
def list_sessions(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not closed.")] = False,
    subject: Annotated[str | None, typer.Option(help="Only this subject's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the newest sessions, closed ones too."""
    with store_for_reading(load_settings()) as engine:
        records = SessionRecords(engine).list(subject=subject, open_only=open_only, limit=limit)
    if as_json:
        print_json([_shown(record) for record in records])
        return
    table = Table(Column("id", no_wrap=True), "state", "subject", "client session", "workspace", "driver", "opened")
    for record in records:
        table.add_row(
            record.id,
            _state(record),
            record.subject,
            record.client_session or "-",
            record.workspace.get("source") or record.workspace.get("mode"),
            record.driver,
            show_time(record.opened_at),
        )
    Console(markup=False).print(table)


@app.command(epilog="Example: bulkhead sessions show s-1f0c2b6d9a374e58")
def show(session_id: SessionId, as_json: AsJson = False) -> None:
    """Show one session whole."""
    with store_for_reading(load_settings()) as engine:
        record = _found(SessionRecords(engine), session_id)
    if as_json:
        print_json(_shown(record))
        return
    times = {"opened_at", "last_used_at", "closed_at"}
    for name, value in _shown(record).items():
        typer.echo(f"{name:15} {show_time(value) if name in times else '-' if value is None else value}")


@app.command(epilog="Example: bulkhead sessions close s-1f0c2b6d9a374e58")
def close(
    session_id: SessionId,
    key: Annotated[
        str | None,
        typer.Option(envvar="BULKHEAD_API_KEY", help="A key of the session's subject. Default: one made for this."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where the gateway listens. Default: BULKHEAD_HOST and PORT.")] = None,
    as_json: AsJson = False,
) -> None:
    """Close an open session now: what runs in it fails, its sandbox is removed."""
    settings = load_settings()
    base = url or _address(settings)
    with store_for_reading(settings) as engine:
        record = _found(SessionRecords(engine), session_id)
    if record.closed_at is not None:
        raise CommandFailed(f"session {session_id} is already closed ({record.close_reason}).")
    with contextlib.nullcontext(key) if key is not None else _short_lived_key(settings, record.subject) as secret:
        _ask_to_close(base, record, secret)
    if as_json:
        print_json({"id": session_id, "closed": True})
        return
    typer.echo(f"Session {session_id} of {record.subject} is closed.")


def _found(records: SessionRecords, session_id: str) -> SessionRecord:
    record = records.get(session_id)
    if record is None:
        raise CommandFailed(f"there is no session {session_id!r}; see `bulkhead sessions list`.")
    return record


@contextlib.contextmanager
def _short_lived_key(settings: Settings, subject: str) -> Iterator[str]:
    """A key of the subject while the block runs: whoever can write the data directory may make keys anyway."""
    with store_for_writing(settings) as engine:
        wanted = NewKey("sessions-close", subject, expires=time.time() + KEY_SECONDS)
        record, secret = issue(settings, engine, wanted, operator())
        try:
            yield secret
        finally:
            revoke(settings, engine, record.id, operator())


def _ask_to_close(base: str, record: SessionRecord, secret: str) -> None:
    try:
        answer = httpx.delete(
            f"{base}/api/sessions/{record.id}", headers={"x-api-key": secret}, timeout=CLOSE_SECONDS, trust_env=False
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise WrongUsage(f"--url {base} is not a URL a gateway can listen on ({error}).") from None
    except httpx.TimeoutException:
        raise CommandFailed(f"the gateway at {base} did not answer within {CLOSE_SECONDS:g} seconds.") from None
    except httpx.HTTPError as error:
        raise CommandFailed(f"no gateway answers at {base} ({error}); name the running one with --url.") from None
    if answer.is_success:
        return
    raise CommandFailed(
        {
            401: "the key is not good; leave --key and BULKHEAD_API_KEY out to have one made.",
            404: f"the gateway at {base} knows no session {record.id} of this key's subject; is it another gateway, "
            f"or a key that is not {record.subject}'s?",
            409: f"session {record.id} is not open in the gateway at {base}: another one has it, or one that died.",
        }.get(answer.status_code, f"the gateway at {base} answered {answer.status_code}.")
    )


def _address(settings: Settings) -> str:
    if settings.port == 0:
        raise WrongUsage("PORT is 0, so where the gateway listens is not known here; name it with --url.")
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _shown(record: SessionRecord) -> dict[str, Any]:
    return {"state": _state(record), **asdict(record)}


def _state(record: SessionRecord) -> str:
    return "open" if record.closed_at is None else f"closed: {record.close_reason}"
