"""Asking a gateway that runs: where it listens, with whose key, and its refusals in words.

Knows no path of its API.
"""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer

from gateway.cli.common import CommandFailed, WrongUsage
from gateway.settings import KEY_VARIABLE, Settings

__all__ = ["Key", "Url", "ask"]

ANSWER_SECONDS = 30.0

Key = Annotated[str | None, typer.Option(envvar=KEY_VARIABLE, help="The API key to ask with.")]
Url = Annotated[str | None, typer.Option(help="Where the gateway listens. Default: BULKHEAD_HOST and PORT.")]

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def ask(settings: Settings, method: str, path: str, *, key: str | None, url: str | None) -> Any:
    """The JSON of a good answer. Raises `WrongUsage` or `CommandFailed`, with the remedy."""
    if key is None:
        raise WrongUsage(f"a key is needed to ask the gateway: set {KEY_VARIABLE}, or give --key.")
    base = url or _address(settings)
    try:
        answer = httpx.request(
            method, f"{base}{path}", headers={"x-api-key": key}, timeout=ANSWER_SECONDS, trust_env=False
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise WrongUsage(f"--url {base} is not a URL a gateway can listen on ({error}).") from None
    except httpx.TimeoutException:
        raise CommandFailed(f"the gateway at {base} did not answer within {ANSWER_SECONDS:g} seconds.") from None
    except httpx.HTTPError as error:
        raise CommandFailed(f"no gateway answers at {base} ({error}); name the running one with --url.") from None
    if answer.status_code == 401:
        raise CommandFailed("the key is not good; make one with `bulkhead keys create`.")
    if not answer.is_success:
        raise CommandFailed(f"the gateway at {base} answered {answer.status_code}.")
    try:
        return answer.json()
    except ValueError:
        raise CommandFailed(f"what answers at {base} is no gateway; name the running one with --url.") from None


def _address(settings: Settings) -> str:
    if settings.port == 0:
        raise WrongUsage("PORT is 0, so where the gateway listens is not known here; name it with --url.")
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
