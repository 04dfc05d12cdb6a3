"""`python -m gateway.providers.scripted`: runs one scenario until it is told to stop.

Prints `listening on URL` once it does. Ends with status 3, and the violations on stderr, when a request
was not what the scenario expects.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import Scenario, ScenarioError, load
from gateway.providers.scripted.server import ScriptedServer

VIOLATED = 3


async def _serve(scenario: Scenario, port: int, record: Record) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = ScriptedServer(scenario, record)
    bound = await server.start(port)
    print(f"listening on http://127.0.0.1:{bound}", flush=True)
    await stop.wait()
    await server.aclose()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.providers.scripted", description=__doc__)
    parser.add_argument("--scenario", type=Path, required=True, help="YAML file, see docs/scenarios.md")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--record", type=Path, help="append every request to this file as JSON lines")
    options = parser.parse_args(argv)
    try:
        scenario = load(options.scenario)
        record = Record(options.record)
    except (ScenarioError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(_serve(scenario, options.port, record))
    record.close()
    for violation in record.violations:
        print(f"request {violation['number']}: {violation['complaint']}", file=sys.stderr)
    return VIOLATED if record.violations else 0


if __name__ == "__main__":
    sys.exit(main())
