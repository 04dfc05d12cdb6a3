"""`bulkhead upstream`: a scripted model in the true wire format, for trying a gateway without a paid one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.providers.scripted.__main__ import main


def upstream(
    scenario: Annotated[Path, typer.Option(help="YAML file; docs/scenarios.md describes it.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0 takes a free one.")] = 0,
    record: Annotated[Path | None, typer.Option(help="Append every request to this file as JSON lines.")] = None,
) -> None:
    """Answer as the scenario says until told to stop; exits 3 if a request was not what it expects.

    Example: bulkhead upstream --scenario hello.yaml --port 9000
    """
    arguments = ["--scenario", str(scenario), "--port", str(port)]
    if record is not None:
        arguments += ["--record", str(record)]
    raise typer.Exit(main(arguments))
