"""The limit options of `bulkhead keys create` and `keys limit`, and what their texts mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from gateway.cli.common import WrongUsage
from gateway.store.keylimits import LIMITS, UNLIMITED, KeyLimits

__all__ = [
    "OPTIONS",
    "Concurrent",
    "Models",
    "RequestsPerMinute",
    "TokensPerDay",
    "TokensPerMinute",
    "TokensPerMonth",
    "UsdPerDay",
    "UsdPerMonth",
    "limits_from",
]

OPTIONS: Mapping[str, str] = {
    "requests_per_minute": "--rpm",
    "tokens_per_minute": "--tpm",
    "tokens_per_day": "--tokens-per-day",
    "tokens_per_month": "--tokens-per-month",
    "usd_per_day": "--usd-per-day",
    "usd_per_month": "--usd-per-month",
    "concurrent_requests": "--concurrent",
    "models": "--models",
}
"""The option of each limit."""

_PANEL = "Limits (a number, `200k`, `1.5M`, `unlimited`, or `default` for the gateway's setting)"


def _option(name: str, help_text: str) -> Any:
    return typer.Option(OPTIONS[name], metavar="N", help=help_text, rich_help_panel=_PANEL)


RequestsPerMinute = Annotated[str | None, _option("requests_per_minute", "Requests per minute.")]
TokensPerMinute = Annotated[str | None, _option("tokens_per_minute", "Tokens per minute, without cache reads.")]
TokensPerDay = Annotated[str | None, _option("tokens_per_day", "Tokens per UTC day, without cache reads.")]
TokensPerMonth = Annotated[str | None, _option("tokens_per_month", "Tokens per UTC month, without cache reads.")]
UsdPerDay = Annotated[str | None, _option("usd_per_day", "US dollars per UTC day.")]
UsdPerMonth = Annotated[str | None, _option("usd_per_month", "US dollars per UTC month.")]
Concurrent = Annotated[str | None, _option("concurrent_requests", "Requests at a time.")]
Models = Annotated[
    str | None,
    typer.Option(
        OPTIONS["models"],
        metavar="PATTERNS",
        help="Models the key may use, comma-separated: `claude-haiku-*,qwen*`; `*` for all.",
        rich_help_panel=_PANEL,
    ),
]

_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([kKmM]?)")
_FACTORS = {"": 1, "k": 1000, "m": 1_000_000}


def limits_from(said: Mapping[str, str | None], before: KeyLimits | None = None) -> KeyLimits:
    """`before` with what was said (by the names of `KeyLimits`; None: nothing). Raises `WrongUsage`."""
    limits = before or KeyLimits()
    for name, text in said.items():
        if text is not None:
            limits = _with(limits, name, text.strip())
    return limits


def _with(limits: KeyLimits, name: str, text: str) -> KeyLimits:
    value: Any
    if text == "default":
        value = None
    elif name == "models":
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    elif text == "unlimited":
        value = UNLIMITED
    else:
        value = _amount(name, text)
    try:
        return replace(limits, **{name: value})
    except ValueError as error:
        raise WrongUsage(f"{OPTIONS[name]} {text}: {error}.") from None


def _amount(name: str, text: str) -> float:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise WrongUsage(f"{OPTIONS[name]} {text!r} is no number of {LIMITS[name].words}, `unlimited` or `default`.")
    return float(match[1]) * _FACTORS[match[2].lower()]
