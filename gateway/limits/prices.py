"""What tokens cost: a table per model, ours and before it the operator's.

Amounts are whole billionths of a dollar (`nanos`): exact sums, no floats. Knows no key and no budget.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gateway.limits.counts import Counts
from gateway.settings import SettingsError

__all__ = ["NANOS", "Price", "Prices", "PricesError", "Rates"]

NANOS = 1_000_000_000
"""In one dollar."""

MOST_USD = 10_000
"""Per million tokens; above it a table is wrong."""

MOST_REMEMBERED = 1024
"""Model names come from clients: no more of them are remembered."""

_LONGEST_MODEL = 300
_BUILT_IN = Path(__file__).with_name("prices.toml")
_RATE_NAMES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
_OF_INPUT = {"cache_write_5m": 1.25, "cache_write_1h": 2.0, "cache_read": 0.1}
_AFTER = re.compile(r"(-\d{8}|-latest|-v\d+|-fast)*([@:\[/].*)?\Z")
"""What may follow a model's name; a further version number may not: that would be another model."""


class PricesError(SettingsError):
    """A price table cannot be used; one sentence that names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Millionths of a millionth of a dollar per token (so many as the table has micro-dollars per million)."""

    input: int
    output: int
    cache_write_5m: int
    cache_write_1h: int
    cache_read: int

    def nanos(self, counts: Counts) -> int:
        """What these tokens cost, rounded to a billionth of a dollar."""
        picos = (
            counts.input * self.input
            + counts.output * self.output
            + counts.write_5m * self.cache_write_5m
            + counts.write_1h * self.cache_write_1h
            + counts.cache_read * self.cache_read
        )
        return (picos + 500) // 1000


@dataclass(frozen=True, slots=True)
class Price:
    """The rates of one model, and when others apply."""

    name: str
    rates: Rates
    fast: Rates | None = None
    long: Rates | None = None
    long_above: int = 0

    def nanos(self, counts: Counts) -> int:
        """The cost of one model call."""
        if counts.fast and self.fast is not None:
            return self.fast.nanos(counts)
        if self.long is not None and counts.prompt > self.long_above:
            return self.long.nanos(counts)
        return self.rates.nanos(counts)


class Prices:
    """Price tables in the order in which they are asked. `as_of` is the date of the built-in one."""

    def __init__(self, prices: Sequence[Price], as_of: str = "") -> None:
        self.as_of = as_of
        self._patterns = [price for price in prices if _is_pattern(price.name)]
        self._names: dict[str, Price] = {}
        for price in prices:
            if not _is_pattern(price.name):
                self._names.setdefault(_plain(price.name), price)
        # The longest first: claude-opus-4-8 before claude-opus-4.
        self._longest = sorted(self._names, key=len, reverse=True)
        self._known: dict[str, Price | None] = {}

    @classmethod
    def load(cls, own: Path | None = None) -> Prices:
        """The built-in table behind the operator's. Raises `PricesError`."""
        built_in, as_of = _read(_BUILT_IN)
        return cls([*(_read(own)[0] if own is not None else ()), *built_in], as_of)

    def of(self, model: str) -> Price | None:
        """The price of a model by the name it was used under; None when nobody knows it."""
        if len(model) > _LONGEST_MODEL:
            return None
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[model] = self._search(model)
            return found

    def _search(self, model: str) -> Price | None:
        for price in self._patterns:
            if fnmatchcase(model, price.name):
                return price
        plain = _plain(model)
        exact = self._names.get(plain)
        if exact is not None:
            return exact
        for name in self._longest:
            at = plain.find(name)
            if at >= 0 and (at == 0 or not plain[at - 1].isalnum()) and _AFTER.match(plain, at + len(name)):
                return self._names[name]
        return None


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _plain(name: str) -> str:
    return name.lower().replace(".", "-").replace("_", "-")


def _read(path: Path) -> tuple[list[Price], str]:
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise PricesError(f"{path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PricesError(f"{path} is no TOML ({error})") from error
    models = table.get("model", [])
    if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
        raise PricesError(f"{path}: prices stand in [[model]] entries")
    return [_price(path, entry) for entry in models], str(table.get("as_of", ""))


def _price(path: Path, entry: Mapping[str, Any]) -> Price:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise PricesError(f"{path}: a [[model]] entry has no name")
    unknown = set(entry) - {"name", "fast", "long", *_RATE_NAMES}
    if unknown:
        raise PricesError(f"{path}: {name} has no {', '.join(sorted(unknown))}")
    fast, long = entry.get("fast"), entry.get("long")
    above = long.get("above") if isinstance(long, dict) else 0
    if not isinstance(above, int) or above < 0:
        raise PricesError(f"{path}: {name}: long.above must be a number of tokens")
    return Price(
        name,
        _rates(path, name, entry),
        None if fast is None else _rates(path, f"{name}: fast", fast),
        None if long is None else _rates(path, f"{name}: long", long),
        above,
    )


def _rates(path: Path, name: str, entry: Any) -> Rates:
    if not isinstance(entry, Mapping):
        raise PricesError(f"{path}: {name} must be a table")
    if "input" not in entry or "output" not in entry:
        raise PricesError(f"{path}: {name} needs input and output")
    rates = {}
    for rate in _RATE_NAMES:
        value = entry.get(rate)
        if value is None:
            value = entry["input"]
            value = value * _OF_INPUT[rate] if isinstance(value, int | float) else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_USD:
            raise PricesError(f"{path}: {name}: {rate} must be dollars per million tokens")
        rates[rate] = round(value * 1_000_000)
    return Rates(**rates)
