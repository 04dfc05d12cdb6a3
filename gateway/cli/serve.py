"""`bulkhead serve`: the gateway in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import getpass
import os
import signal
import socket
from collections.abc import Iterator
from typing import Annotated

import typer
import uvicorn
import uvloop

from gateway.app import create_app, served
from gateway.cli.common import CommandFailed, store_for_writing
from gateway.cli.issuing import NewKey, issue_first
from gateway.sandbox.errors import SandboxError
from gateway.settings import Settings, load_settings, unknown_variables
from gateway.telemetry import configure_logging

SHUTDOWN_SECONDS = 10
"""How long running requests may go on after a signal."""


def serve(
    port: Annotated[int | None, typer.Option(help="Listen here instead of on PORT; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Listen on this address instead of BULKHEAD_HOST.")] = None,
) -> None:
    """Serve the Messages API. Makes a first key at the first start and shows it once.

    Example: WORKSPACE_ROOT=~/src ANTHROPIC_API_KEY=... bulkhead serve
    """
    given = {name: value for name, value in (("port", port), ("host", host)) if value is not None}
    settings = load_settings(**given)
    configure_logging(settings.log_level)
    for variable in unknown_variables(os.environ):
        typer.echo(f"bulkhead: {variable} is not a setting and has no effect.", err=True)
    with store_for_writing(settings) as engine:
        first = issue_first(settings, engine, NewKey("first", getpass.getuser()))
    if first is not None:
        typer.echo(f"First API key (shown this once): {first[1]}")
    else:
        typer.echo("Keys exist already; `bulkhead keys create NAME` makes another.")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except SandboxError as error:
        raise CommandFailed(f"No sandbox can be opened: {error}. `bulkhead doctor` says more.") from error


async def _serve(settings: Settings) -> None:
    with _listening(settings) as listener:
        host, port = listener.getsockname()[:2]
        app = create_app(settings, f"{host}:{port}")
        async with app.router.lifespan_context(app):
            config = uvicorn.Config(
                served(app),
                http="httptools",
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                timeout_keep_alive=75,
                server_header=False,
            )
            server = _Server(config, f"http://{host}:{port}")
            _spare_the_collector()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
            await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where it listens once it really does. Signals end it in order: the sandboxes go before the process."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    def stop(self) -> None:
        """Finish what runs; the second time, do not."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            typer.echo(f"listening on {self._url}")


def _spare_the_collector() -> None:
    """What is up by now stays up: the garbage collector need not walk through it again and again. A request
    makes few cycles, so that it can look less often, too."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            text = f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); set PORT to a free one."
            raise CommandFailed(text) from error
        yield listener
