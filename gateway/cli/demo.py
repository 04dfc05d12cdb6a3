"""`bulkhead demo`: a scripted agent at work in a real sandbox, then the proof of what held. Needs no model key."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from gateway.cli.common import print_json
from gateway.demo.run import Outcome, Run
from gateway.settings import DriverChoice, load_settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    driver: Annotated[
        DriverChoice | None, typer.Option(help="What the sandbox is made with. Default: BULKHEAD_SANDBOX_DRIVER.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Result as JSON on stdout; the transcript goes to stderr.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary directory, logs included.")] = False,
) -> None:
    """Show a scripted agent fix a test in a sandbox and fail to leave it; exits 1 if anything deviates.

    Example: bulkhead demo --driver bubblewrap
    """
    settings = load_settings(**({"sandbox_driver": driver} if driver is not None else {}))
    console = Console(stderr=as_json, highlight=False, markup=False, emoji=False)
    outcome = asyncio.run(_until_told(Run(settings, console, keep=keep)))
    if as_json:
        print_json(_shown(outcome))
    else:
        console.print(f"\n{outcome.seconds['all']:.1f} seconds")
        typer.echo("demo: ok" if outcome.ok else "demo: failed")
    if not outcome.ok:
        raise typer.Exit(1)


async def _until_told(run: Run) -> Outcome:
    """The first signal ends the run in order; later ones wait for that."""
    task = asyncio.ensure_future(run.run())
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not told:
            task.cancel()
        told.append(number)

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return await task


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": outcome.ok,
        "driver": outcome.driver,
        "unenforced": outcome.unenforced,
        "checks": [asdict(check) for check in outcome.checks],
        "calls": [asdict(call) for call in outcome.answer.calls],
        "diff": outcome.diff,
        "audit": asdict(outcome.trail),
        "seconds": outcome.seconds,
        "kept": outcome.kept,
    }
