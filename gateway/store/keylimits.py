"""How much a key may use: the numbers as they are stored, given on the command line and shown.

Knows names, units and sane values. Must not know how anything is counted or refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["LIMITS", "UNLIMITED", "KeyLimits", "LimitKind"]

UNLIMITED = math.inf
"""No limit, said explicitly: it also overrides a default. In JSON and on the command line `unlimited`."""

MAX_PATTERNS = 100
MAX_PATTERN = 200
_UNLIMITED_WORD = "unlimited"


@dataclass(frozen=True, slots=True)
class LimitKind:
    """One numeric limit: its words (after the number), and whether it takes fractions."""

    words: str
    least: float
    most: float
    whole: bool = True


LIMITS: Mapping[str, LimitKind] = {
    "requests_per_minute": LimitKind("requests per minute", 1, 1e6),
    "tokens_per_minute": LimitKind("tokens per minute", 1, 1e12),
    "tokens_per_day": LimitKind("tokens per day", 1, 1e15),
    "tokens_per_month": LimitKind("tokens per month", 1, 1e15),
    "usd_per_day": LimitKind("USD per day", 0.000001, 1e9, whole=False),
    "usd_per_month": LimitKind("USD per month", 0.000001, 1e9, whole=False),
    "concurrent_requests": LimitKind("requests at a time", 1, 1e6),
}
"""The numeric limits, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key, or the defaults of all keys. None: nothing said. `UNLIMITED`: no limit.

    Tokens are input, cache writes and output; cache reads are left out, as the vendor's own limits do.
    Days and months are UTC. `models` are globs over the name the client asks for.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokens_per_day: float | None = None
    tokens_per_month: float | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None
    concurrent_requests: float | None = None
    models: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, kind in LIMITS.items():
            _check_number(name, getattr(self, name), kind)
        _check_patterns(self.models)

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> KeyLimits:
        """From the stored JSON object. Raises `ValueError` that names what is wrong."""
        if stored is None:
            return cls()
        if not isinstance(stored, Mapping):
            raise ValueError("limits must be an object")
        unknown = set(stored) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"limits have no {', '.join(sorted(map(str, unknown)))}")
        values: dict[str, Any] = {
            name: UNLIMITED if value == _UNLIMITED_WORD else value for name, value in stored.items()
        }
        models = values.get("models")
        if models is not None:
            if not isinstance(models, list | tuple):
                raise ValueError("models must be a list of patterns")
            values["models"] = tuple(models)
        return cls(**values)

    def stored(self) -> dict[str, Any]:
        """The JSON object: only what was said."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in said.items() if value is not None}

    def over(self, defaults: KeyLimits) -> KeyLimits:
        """These limits, and the defaults where nothing is said."""
        said: dict[str, Any] = {
            field.name: getattr(defaults, field.name)
            if getattr(self, field.name) is None
            else getattr(self, field.name)
            for field in fields(self)
        }
        return KeyLimits(**said)

    def words(self) -> str:
        """For a list: `60 requests per minute, 25 USD per month`; "" where nothing is said."""
        parts = [
            f"{_UNLIMITED_WORD if value == UNLIMITED else f'{value:,.10g}'} {kind.words}"
            for name, kind in LIMITS.items()
            if (value := getattr(self, name)) is not None
        ]
        if self.models is not None:
            parts.append(f"models {', '.join(self.models)}")
        return ", ".join(parts)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if value == UNLIMITED:
        return _UNLIMITED_WORD
    return int(value) if float(value).is_integer() else value


def _check_number(name: str, value: object, kind: LimitKind) -> None:
    if value is None or value == UNLIMITED:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{name} must be a number")
    if kind.whole and value != int(value):
        raise ValueError(f"{name} must be a whole number")
    if not kind.least <= value <= kind.most:
        raise ValueError(f"{name} must be between {kind.least:g} and {kind.most:g}")


def _check_patterns(models: tuple[str, ...] | None) -> None:
    if models is None:
        return
    if not 0 < len(models) <= MAX_PATTERNS:
        raise ValueError(f"models must be 1-{MAX_PATTERNS} patterns; * allows every model")
    for pattern in models:
        if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_PATTERN or not pattern.isprintable():
            raise ValueError(f"models: {pattern!r} is no pattern of 1-{MAX_PATTERN} printable characters")
