"""`python -m gateway.broker`: run the broker as a process of its own. It must not know the gateway."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.broker.engine import Engine, engine_socket
from gateway.broker.profile import Limits, Profile
from gateway.broker.server import Server
from gateway.broker.service import Broker

__all__ = ["main"]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bulkhead broker", description="the only process that holds the engine")
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on")
    parser.add_argument("--gateway", default="bulkhead", help="id on the labels of everything created")
    parser.add_argument("--allow-root", type=Path, action="append", default=[], help="workspaces may lie below")
    parser.add_argument("--allow-uid", type=int, action="append", default=[], help="may connect besides our own")
    parser.add_argument("--group-access", action="store_true", help="socket mode 0660 instead of 0600")
    parser.add_argument("--image", default=Profile().image, help="image of the profile named default")
    parser.add_argument("--profile", action="append", default=[], metavar="NAME=IMAGE", help="a further profile")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help="of every profile")
    parser.add_argument("--engine", metavar="URL", help="the engine's unix socket instead of DOCKER_HOST")
    parser.add_argument("--runtime", default="runc", help="OCI runtime as the engine names it")
    parser.add_argument("--toolhost", type=Path, help="development: mount this toolhost over the image's")
    parser.add_argument("--time-limit", type=int, default=60, help="seconds for any one call to the engine")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    return parser


def profiles_of(options: argparse.Namespace) -> dict[str, Profile]:
    """The profiles these options describe. Raises ValueError for options that make no sense."""
    images = {"default": options.image}
    for given in options.profile:
        name, sign, image = given.partition("=")
        if not (name and sign and image):
            raise ValueError(f"--profile wants NAME=IMAGE, not {given!r}")
        images[name] = image
    limits = _limits(options.limit)
    toolhost = str(options.toolhost.resolve(strict=True)) if options.toolhost else None
    return {
        name: Profile(image=image, limits=limits, runtime=options.runtime, toolhost=toolhost)
        for name, image in images.items()
    }


def build(options: argparse.Namespace) -> Server:
    """The broker these options describe. Raises ValueError or OSError for options that make no sense."""
    roots = [root.resolve(strict=True) for root in options.allow_root]
    engine = Engine(engine_socket(options.engine), time_limit=options.time_limit)
    broker = Broker(engine, options.gateway, roots, profiles_of(options))
    mode = 0o660 if options.group_access else 0o600
    until_eof = 0 if options.until_eof else None
    return Server(broker, options.socket, mode=mode, uids=options.allow_uid, until_eof=until_eof)


def _limits(given: Sequence[str]) -> Limits:
    known = {item.name for item in dataclasses.fields(Limits)}
    values = dict(text.partition("=")[::2] for text in given)
    if unknown := values.keys() - known:
        raise ValueError(f"--limit wants NAME=VALUE with a name of {', '.join(sorted(known))}, not {min(unknown)!r}")
    try:
        limits = msgspec.convert(values, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"--limit: {error}") from error
    if min(getattr(limits, name) for name in known) < 0:
        raise ValueError("--limit takes no negative number")
    return limits


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; with --until-eof until standard input ends, whatever signals the whole
    process group or unit gets: the parent still needs the broker to close its sandboxes. Exit code 2 for
    options that make no sense."""
    parser = arguments()
    options = parser.parse_args(argv)
    try:
        server = build(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if options.until_eof else lambda *_: server.stop())
    try:
        server.serve()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
