"""`python -m tests.upstreams`: plays one scenario as one server until it is told to stop.

Prints `listening on URL` once it does. Ends with status 3, and the violations on stderr, when a request was not
what the server, or the scenario, takes.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
import yaml

from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import ScenarioError, parse
from tests.upstreams.dialect_server import DialectServer
from tests.upstreams.dialects import DIALECTS
from tests.upstreams.issued_tokens import Credentials
from tests.upstreams.wire import take_wires

VIOLATED = 3


async def _serve(server: DialectServer, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"listening on http://127.0.0.1:{await server.start(port)}", flush=True)
    await stop.wait()
    await server.aclose()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstreams", description=__doc__)
    parser.add_argument("--dialect", choices=sorted(DIALECTS), required=True)
    parser.add_argument("--scenario", type=Path, required=True, help="YAML, see docs/scenarios.md and wire.py")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--record", type=Path, help="append every request to this file as JSON lines")
    parser.add_argument("--secret", default="", help="the only long-lived credential; empty takes any")
    parser.add_argument("--token-seconds", type=float, default=3600, help="life of an issued token")
    parser.add_argument("--rpm", type=int, help="requests answered in a minute, further ones get 429")
    options = parser.parse_args(argv)
    dialect = DIALECTS[options.dialect]
    try:
        data, wires = take_wires(yaml.safe_load(options.scenario.read_text(encoding="utf-8")) or {})
        scenario = parse(data)
        record = Record(options.record)
    except (ScenarioError, OSError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    credentials = Credentials(dialect, options.secret, options.token_seconds)
    uvloop.run(_serve(DialectServer(dialect, scenario, wires, record, credentials, options.rpm), options.port))
    record.close()
    for violation in record.violations:
        print(f"request {violation['number']}: {violation['complaint']}", file=sys.stderr)
    return VIOLATED if record.violations else 0


if __name__ == "__main__":
    sys.exit(main())
