"""`bulkhead usage`: what keys used, read from the store."""

from __future__ import annotations

import csv
import re
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from gateway.cli.common import WrongUsage, moment, print_json, store_for_reading
from gateway.limits.calendar import period_of
from gateway.limits.report import FIELDS, usage_report
from gateway.settings import load_settings
from gateway.store.usage import Grouping, UsageRecords

_HEADINGS = {
    "requests": "requests",
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache read",
    "cache_write_tokens": "cache write",
    "unpriced_tokens": "without price",
    "cost_usd": "USD",
}


def usage(
    by: Annotated[Grouping, typer.Option(help="What the rows are.")] = "key",
    since: Annotated[str, typer.Option(help="From when on: 30d, 12w or a date; whole UTC days.")] = "30d",
    until: Annotated[str | None, typer.Option(help="The last day. Default: today.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this subject's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show requests, tokens and costs; a running gateway's are at most a few seconds behind."""
    if as_json and as_csv:
        raise WrongUsage("--json and --csv are two forms of one answer; choose one.")
    first, last = _day("--since", since), _day("--until", until or "0d")
    if first > last:
        raise WrongUsage(f"--since {first} is after --until {last}.")
    with store_for_reading(load_settings()) as engine:
        report = usage_report(UsageRecords(engine), by, first, last, subject)
    if as_json:
        print_json(report)
    elif as_csv:
        _print_csv(report, by)
    else:
        _print_table(report, by)


def _day(option: str, text: str) -> str:
    """A span counts back from now."""
    stamp = moment(text)
    if re.fullmatch(r"\d+[smhdw]", text):
        stamp = 2 * time.time() - stamp
    try:
        return period_of(stamp).day
    except (ValueError, OverflowError, OSError):
        raise WrongUsage(f"{option} {text} is too far away.") from None


def _labels(by: Grouping) -> tuple[str, ...]:
    return ("key", "name", "subject") if by == "key" else (by,)


def _print_csv(report: dict[str, Any], by: Grouping) -> None:
    columns = (*_labels(by), *FIELDS)
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in report["data"]:
        writer.writerow({**row, **{label: _inert(row[label]) for label in _labels(by)}})


def _inert(text: str) -> str:
    """Model names come from clients: no spreadsheet is to take one for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _print_table(report: dict[str, Any], by: Grouping) -> None:
    span = f"from {report['from']} to {report['to']} (UTC)"
    if not report["data"]:
        typer.echo(f"Nothing was used {span}.")
        return
    labels = _labels(by)
    heads = [Column(label, overflow="fold", min_width=6) for label in labels]
    numbers = [Column(_HEADINGS[name], justify="right", overflow="fold") for name in FIELDS]
    table = Table(*heads, *numbers, title=f"Usage {span}", show_footer=False)
    for row in report["data"]:
        table.add_row(*(row[label] or "-" for label in labels), *_cells(row))
    table.add_section()
    table.add_row("total", *[""] * (len(labels) - 1), *_cells(report["total"]))
    Console(markup=False).print(table)
    if report["total"]["unpriced_tokens"]:
        typer.echo("Tokens without a price are not in the costs; name their price in BULKHEAD_PRICES_FILE.")


def _cells(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:,.4f}" if name == "cost_usd" else f"{row[name]:,}" for name in FIELDS]
