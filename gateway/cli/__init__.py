"""The `bulkhead` command: a table of sub-commands, each imported only when it is called.

To add one, add a line to `COMMANDS`: its name, where its `typer.Typer` (or plain function) is, and the line
that `bulkhead --help` shows. Imports nothing heavy: the list of commands is there at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NamedTuple

import typer


class Command(NamedTuple):
    """A sub-command: `target` is `module:attribute`."""

    target: str
    help: str


COMMANDS: dict[str, Command] = {
    "demo": Command("gateway.cli.demo:demo", "Watch a scripted agent work in a sandbox, and what holds it in."),
    "serve": Command("gateway.cli.serve:serve", "Run the gateway in the foreground."),
    "claude": Command("gateway.cli.claude:app", "Run Claude Code in this directory, its tools in a sandbox."),
    "doctor": Command("gateway.cli.doctor:doctor", "Check this host and configuration, and say what to do."),
    "keys": Command("gateway.cli.keys:app", "Make, list and revoke the API keys of callers."),
    "usage": Command("gateway.cli.usage:usage", "Show what keys used and what it cost."),
    "cache": Command("gateway.cli.cache:app", "Show and empty the prompt cache."),
    "upstreams": Command("gateway.cli.upstreams:app", "Show the model upstreams, and ask each for a word."),
    "sessions": Command("gateway.cli.sessions:app", "List, show and close sandbox sessions."),
    "audit": Command("gateway.cli.audit:app", "Read, verify and export the audit log."),
    "images": Command("gateway.cli.images:app", "Build the sandbox images and show which are current."),
    "broker": Command("gateway.cli.broker:app", "Run the process that alone holds the engine's socket."),
    "upstream": Command("gateway.cli.upstream:upstream", "Run a scripted model from a scenario file."),
}


def main() -> None:
    """Entry point of the `bulkhead` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    try:
        name = arguments[0] if arguments else "--help"
        if name in COMMANDS:
            _call(_load(COMMANDS[name]), f"bulkhead {name}", arguments[1:])
        else:
            _call(_root(), "bulkhead", arguments or ["--help"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except Exception as error:
        common = importlib.import_module("gateway.cli.common")
        if not isinstance(error, common.REPORTED):
            raise
        typer.echo(f"bulkhead: {error}", err=True)
        return int(common.exit_code(error))
    return 0


def _load(command: Command) -> typer.Typer:
    module, _, attribute = command.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return target
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return app


def _call(app: typer.Typer, program: str, arguments: Sequence[str]) -> None:
    typer.main.get_command(app).main(args=list(arguments), prog_name=program)


def _root() -> typer.Typer:
    """What `bulkhead --help` shows and what refuses unknown names; its commands are never called."""
    app = typer.Typer(add_completion=False, help="Sandbox gateway for Claude Code and every Messages API client.")

    @app.callback(epilog="Example: bulkhead doctor")
    def root(
        version_wanted: Annotated[
            bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
        ] = False,
    ) -> None:
        """Options before any command."""

    for name, command in COMMANDS.items():
        app.command(name, help=command.help)(_listed)
    return app


def _listed() -> None:
    """Stands for a command in the list."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("bulkhead"))
        raise typer.Exit
