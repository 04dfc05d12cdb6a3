"""`bulkhead broker`: the broker as a process of its own. Its options are its own, so that it needs no gateway."""

from __future__ import annotations

import typer

from gateway.broker.__main__ import main

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def broker(context: typer.Context) -> None:
    """Run the broker; `bulkhead broker --help` shows its options."""
    raise typer.Exit(main(context.args))
