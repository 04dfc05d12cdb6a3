"""`bulkhead images`: builds the sandbox and gateway images, and says which are current.

The one command that talks to the engine outside the broker: an operator runs it; nothing that serves
requests does.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from gateway.images.build import ImageState, build, connect, states
from gateway.images.errors import ImageError
from gateway.images.recipes import DEFAULT_IMAGES, RECIPES, source_tree

app = typer.Typer(help="Build the sandbox images and show which are current.", no_args_is_help=True)


@app.command("build")
def build_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar=f"[{'|'.join(RECIPES)}]...", help="Which images; none: what setup builds."),
    ] = None,
    base_image: Annotated[
        str | None, typer.Option(envvar="BASE_IMAGE", help="Build on this image instead of Debian's.")
    ] = None,
    base_tar: Annotated[
        Path | None, typer.Option(help="Import this tar of a Debian root file system as the base image.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even when nothing changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Result as JSON on stdout; progress goes to stderr.")] = False,
) -> None:
    """Bring images up to date: an image is rebuilt only when something that goes into it changed."""
    try:
        built = build(
            connect(),
            source_tree(),
            names or DEFAULT_IMAGES,
            asked_base=base_image,
            base_tar=base_tar,
            force=force,
            out=sys.stderr if as_json else sys.stdout,
        )
    except ImageError as error:
        _fail(error)
    if as_json:
        _print_json(built)


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON.")] = False,
) -> None:
    """Show every image: whether it is there, and whether it matches the files in this tree."""
    try:
        found = states(connect(), source_tree())
    except ImageError as error:
        _fail(error)
    if as_json:
        _print_json(found)
        return
    table = Table("image", "state", "size", "what it holds")
    for image in found:
        size = f"{image.size // 1_000_000} MB" if image.size else "-"
        table.add_row(image.tag, image.state, size, image.about)
    Console().print(table)


def _print_json(images: list[ImageState]) -> None:
    typer.echo(json.dumps([asdict(image) for image in images], indent=2))


def _fail(error: ImageError) -> NoReturn:
    if error.detail:
        typer.echo(error.detail, err=True)
    typer.echo(f"bulkhead images: {error}", err=True)
    raise typer.Exit(error.exit_code)
