"""The command: choose rows, measure their groups, show and write the results."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import uvloop

from benchmarks import tables
from benchmarks.engine import Missing
from benchmarks.groups import GROUPS
from benchmarks.rig import rig
from benchmarks.rows import Figure, Row, RowSpec, report

__all__ = ["all_rows", "main"]

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
INTERRUPTED = 130


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="Measure this machine: the gateway and its sandboxes against the same work without them. "
        "Ratios are of medians, both sides taken in turn in one run.",
        epilog="Example: benchmarks/run --quick --only 'channel.*'",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE as JSON")
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name matches, such as 'session.*' or audit")
    parser.add_argument("--without", metavar="PATTERN", help="leave out rows that match, such as '*litellm'")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: about a minute, rougher figures")
    parser.add_argument("--list", action="store_true", help="name the rows and what they compare, measure nothing")
    parser.add_argument("--markdown", action="store_true", help=f"rewrite the table in docs/{DOCUMENT.name}")
    return parser


def all_rows() -> list[RowSpec]:
    """Every declared row in the order shown."""
    return [spec for group in GROUPS for spec in group.rows]


def chosen(only: str | None, without: str | None = None) -> list[RowSpec]:
    """Rows whose name matches the shell pattern `only`, or begins with it, and not `without`."""
    return [
        spec
        for spec in all_rows()
        if (only is None or _matches(spec.name, only)) and (without is None or not _matches(spec.name, without))
    ]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(pattern)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 when something is missing or the options make no sense; 130 when interrupted."""
    parser = arguments()
    options = parser.parse_args(argv)
    specs = chosen(options.only, options.without)
    if not specs:
        parser.error(f"no row matches {options.only or '*'!r}; --list names them")
    if options.markdown and (options.only or options.without):
        parser.error("--markdown needs every row; leave --only and --without away")
    if options.list:
        print(tables.listing(specs))
        return 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows = runner.run(_measure(specs, quick=options.quick))
    except Missing as missing:
        print(f"benchmarks: {missing}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("benchmarks: interrupted; everything is cleaned up.", file=sys.stderr)
        return INTERRUPTED
    print(tables.plain(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([row.as_json() for row in rows], indent=2, ensure_ascii=False) + "\n")
    if options.markdown:
        tables.rewrite(DOCUMENT, rows)
    return 0


async def _measure(specs: Sequence[RowSpec], *, quick: bool) -> list[Row]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    groups = [group for group in GROUPS if any(spec in specs for spec in group.rows)]
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {text}", file=sys.stderr, flush=True)

    names = {spec.name for spec in specs}
    figures: dict[str, Figure] = {}
    for group in groups:
        async with rig(quick=quick, engine_needed=group.needs_engine, say=say, rows=names) as stand:
            figures |= await group.measure(stand)
    return [row for row in report(all_rows(), figures) if row.spec in specs]
