"""`bulkhead doctor`: is this host fit, and if not, what to do. Facts, checks and their display are apart."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.common import print_json
from gateway.cli.doctor.checks import Finding, examine
from gateway.cli.doctor.collect import collect
from gateway.settings import load_settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this host and configuration; exits 1 if something would not work or not hold.

    Example: bulkhead doctor --json
    """
    findings = examine(collect(load_settings()))
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    if failed:
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    console = Console(markup=False)
    table = Table("", "check", "finding")
    for finding in findings:
        table.add_row(finding.status, finding.name, finding.detail, style=_COLOURS[finding.status])
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"{finding.name}: {finding.remedy}")
