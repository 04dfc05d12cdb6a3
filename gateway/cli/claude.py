"""`bulkhead claude`: Claude Code in the current directory, with a gateway and a key of its own for the time.

Everything after the command's own options belongs to Claude Code, untouched.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import httpx
import typer
from typer.core import TyperCommand

from gateway.cli.common import CommandFailed, operator, store_for_writing
from gateway.cli.issuing import NewKey, issue, revoke
from gateway.cli.own_gateway import OwnGateway, own_gateway
from gateway.cli.passed_through import NeededEnded, run_in_foreground
from gateway.routing.build import plan_of
from gateway.settings import Settings, SettingsError, load_settings

Mode = Literal["bind", "copy"]

KEY_SECONDS = 7 * 86400
"""A key whose command was killed before it could revoke it is good for no longer."""

PROBE_SECONDS = 3.0

SETTINGS = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1800000",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
}
"""Given to Claude Code unless the caller's environment says otherwise: no traffic past the gateway, patience with
long calls, a prompt that caches, no notes outside the workspace."""

WITHHELD = (
    "ANTHROPIC_API_KEY",
    "AZURE_ANTHROPIC_API_KEY",
    "AZURE_CLIENT_SECRET",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
    "DATABRICKS_API_KEY",
    "DATABRICKS_CLIENT_SECRET",
    "OPENAI_API_KEY",
)
"""The upstreams' credentials are the gateway's, and nothing may lead past it. What an upstreams file names is
withheld by its value."""

_OWN_OPTIONS = {"--cli", "--workspace-mode"}


class _OwnOptionsFirst(TyperCommand):
    """Takes its own options from the front; the rest is left as it is, whatever it looks like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own, rest = split_arguments(args)
        super().parse_args(ctx, own)
        ctx.args = rest
        return rest


app = typer.Typer(add_completion=False)


@app.command(cls=_OwnOptionsFirst, options_metavar="[OWN OPTIONS] [CLAUDE ARGUMENTS]...")
def claude(
    context: typer.Context,
    cli: Annotated[Path | None, typer.Option(help="The Claude Code program, if not `claude` on the PATH.")] = None,
    workspace_mode: Annotated[
        Mode | None, typer.Option(help="bind: this directory itself; copy: a private copy of it.")
    ] = None,
) -> None:
    """Run Claude Code in this directory; its commands and file edits happen in a sandbox.

    A running gateway that serves this directory is used, else one is started for as long as Claude Code runs.

    Example: bulkhead claude -p "run the tests and fix what fails"
    """
    program = _program(cli)
    settings = load_settings()
    directory = Path.cwd().resolve()
    mode = _mode(settings, directory, workspace_mode)
    with ExitStack() as stack:
        stack.enter_context(_leaving_in_order())
        secret = stack.enter_context(_temporary_key(settings, directory, mode))
        own: OwnGateway | None = None
        url = running_gateway(settings, secret)
        if url is None:
            _require_credential(settings)
            own = stack.enter_context(own_gateway(settings, directory))
            url = own.url
        environment = client_environment(os.environ, url, secret, upstream_secrets(settings))
        try:
            status = run_in_foreground([program, *context.args], environment, own.process if own is not None else None)
        except NeededEnded:
            where = f"; its log is {own.log}" if own is not None else ""
            raise CommandFailed(f"the gateway ended, and Claude Code with it{where}.") from None
    raise typer.Exit(status)


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options from the front, and everything from the first thing that is not one. `--` ends ours."""
    at = 0
    while at < len(arguments):
        name, sign, _ = arguments[at].partition("=")
        if name == "--":
            return list(arguments[:at]), list(arguments[at + 1 :])
        if name == "--help" and at == 0:
            at += 1
        elif name in _OWN_OPTIONS:
            at += 1 if sign else 2
        else:
            break
    return list(arguments[:at]), list(arguments[at:])


def upstream_secrets(settings: Settings) -> frozenset[str]:
    """Credentials of every configured upstream; none where the configuration cannot be read, which the gateway
    says better."""
    try:
        upstreams = plan_of(settings).upstreams
    except SettingsError:
        return frozenset()
    found = [one.secret for one in upstreams] + [one.oauth.client_secret for one in upstreams if one.oauth is not None]
    return frozenset(secret.get_secret_value() for secret in found if secret is not None)


def client_environment(
    environ: Mapping[str, str], url: str, secret: str, secrets: Collection[str] = ()
) -> dict[str, str]:
    """What Claude Code gets to see of the environment, and what it is told. `secrets` are kept from it."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in WITHHELD and not name.startswith("BULKHEAD_") and value not in secrets
    }
    bypass = [part for part in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",") if part]
    local = ",".join([*bypass, "127.0.0.1", "localhost"])
    told = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": secret, "NO_PROXY": local, "no_proxy": local}
    return {**SETTINGS, **kept, **told}


def running_gateway(settings: Settings, secret: str) -> str | None:
    """URL of the gateway on PORT if it takes this key and serves the key's directory, else None."""
    if not settings.port:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=PROBE_SECONDS) as client:
            # Only to a gateway is the key shown, and this one says so without it.
            if client.get("/").json().get("name") != "bulkhead":
                return None
            answer = client.get("/api/workspace", headers={"x-api-key": secret})
            return url if answer.status_code == 200 and answer.json().get("served") is True else None
    except (httpx.HTTPError, ValueError, AttributeError):
        return None


@contextmanager
def _temporary_key(settings: Settings, directory: Path, mode: Mode) -> Iterator[str]:
    """A key for this directory that ends with the command. Its subject is the person, so that a conversation
    can be continued with the next one."""
    subject = re.sub(r"[^A-Za-z0-9._@+-]", "-", getpass.getuser()).lstrip("._@+-") or f"uid-{os.getuid()}"
    wanted = NewKey(f"claude-{os.getpid()}", subject, str(directory), mode, time.time() + KEY_SECONDS)
    with store_for_writing(settings) as engine:
        record, secret = issue(settings, engine, wanted, operator())
    try:
        yield secret
    finally:
        with store_for_writing(settings) as engine:
            revoke(settings, engine, record.id, operator())


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """Until Claude Code runs, SIGTERM and SIGHUP end the command by way of its cleaning up."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _program(given: Path | None) -> str:
    found = shutil.which(str(given) if given is not None else "claude")
    if found is not None:
        return found
    if given is not None:
        raise CommandFailed(f"{given} is not a program; give --cli the path of Claude Code.")
    raise CommandFailed(
        "Claude Code is not installed: run `npm install -g @anthropic-ai/claude-code`, or name it with --cli PATH."
    )


def _mode(settings: Settings, directory: Path, wanted: Mode | None) -> Mode:
    """A sandbox never runs as root, so it cannot share a directory of root's."""
    if wanted is not None:
        return wanted
    if settings.workspace_mode == "bind" and directory.stat().st_uid == 0:
        typer.echo(
            f"bulkhead: {directory} is owned by root, so the sandbox gets a private copy of it; changes stay there "
            "(--workspace-mode copy).",
            err=True,
        )
        return "copy"
    return settings.workspace_mode


def _require_credential(settings: Settings) -> None:
    default = Settings.model_fields["anthropic_endpoint"].default
    if (
        settings.upstreams is None
        and settings.model_provider == "anthropic"
        and settings.anthropic_api_key is None
        and settings.anthropic_endpoint == default
    ):
        raise CommandFailed(
            "ANTHROPIC_API_KEY is not set: the gateway needs it for the model, and keeps it to itself. "
            "Other upstreams are set by MODEL_PROVIDER or BULKHEAD_UPSTREAMS; see docs/upstreams.md."
        )
