"""`bulkhead cache`: what a running gateway keeps for a key's subject, and emptying that."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import CommandFailed, print_json
from gateway.cli.running import Key, Url, ask
from gateway.settings import load_settings

app = typer.Typer(help="Show and empty the prompt cache.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: BULKHEAD_API_KEY=... bulkhead cache stats")
def stats(key: Key = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show what is kept for the key's subject, and how often it was of use."""
    told = ask(load_settings(), "GET", "/api/cache", key=key, url=url)
    if as_json:
        print_json(told)
        return
    try:
        asked = told["hits"] + told["misses"]
        share = f" ({told['hits'] / asked:.0%})" if asked else ""
        lines = {
            "subject": told["subject"],
            "enabled": "yes" if told["enabled"] else "no",
            "answers": f"{told['entries']} of at most {told['max_entries']}",
            "bytes": f"{told['bytes']:,} of at most {told['max_bytes']:,}",
            "kept for": f"{told['ttl_seconds']:g} s",
            "hits": f"{told['hits']}{share}, {told['joined']} of them waited for another request",
            "misses": told["misses"],
            "evicted": told["evicted"],
            "bypassed": ", ".join(f"{reason} {count}" for reason, count in told["bypassed"].items()) or 0,
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f"the gateway's answer is not understood ({error}); is it another version?") from None
    for name, value in lines.items():
        typer.echo(f"{name:10} {value}")


@app.command(epilog="Example: BULKHEAD_API_KEY=... bulkhead cache purge")
def purge(key: Key = None, url: Url = None, as_json: AsJson = False) -> None:
    """Forget the answers of the key's subject."""
    told = ask(load_settings(), "DELETE", "/api/cache", key=key, url=url)
    if as_json:
        print_json(told)
        return
    typer.echo(f"Forgotten: {told['purged']} of {told['subject']}.")
