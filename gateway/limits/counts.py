"""Token counts out of a `usage` object that nobody vouches for: an upstream may leave out, misspell or lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST_TOKENS", "Counts", "at_least", "counts_of"]

MOST_TOKENS = 10_000_000
"""More than any model reads or writes in one call; larger claims count as this much."""

CHARACTERS_A_TOKEN = 4
"""Of plain text, about; for answers that nobody counted."""

MOST_ITERATIONS = 1000
_KEPT_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one report. `input` is without the caches; `write_1h` is the part of cache writes that lives an
    hour. `fast`: the answer was made in the vendor's faster, dearer mode. `doubtful`: something in the report
    made no sense and was corrected."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    write_5m: int = 0
    write_1h: int = 0
    fast: bool = False
    doubtful: bool = False

    @property
    def cache_write(self) -> int:
        return self.write_5m + self.write_1h

    @property
    def prompt(self) -> int:
        """Everything the model read."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        return self.prompt + self.output

    @property
    def limited(self) -> int:
        """What limits count: all but cache reads."""
        return self.input + self.cache_write + self.output


def counts_of(usage: Mapping[str, Any]) -> list[Counts]:
    """The model calls that a `usage` reports: one, or those it lists under `iterations`. Never raises.

    Iterations count when they sum up to more than the report itself, which leaves some of them out (the
    vendor's own keeps the input of the last call only).
    """
    whole = _one(usage)
    listed = usage.get("iterations")
    if not isinstance(listed, list) or not listed:
        return [whole]
    calls = [_one(item) for item in listed[:MOST_ITERATIONS] if isinstance(item, Mapping)]
    if not calls or sum(call.total for call in calls) < whole.total:
        return [whole]
    return calls


def at_least(usage: Mapping[str, Any], *, asked: int, told: int) -> dict[str, Any]:
    """The usage of an answer that broke off, of which the upstream's own counts come last or not at all: no less
    than what was asked (bytes) and told (characters) so far. Else a client would spare its budget by hanging up.
    """
    counted = _one(usage)
    floor: dict[str, Any] = dict(usage)
    if counted.prompt == 0:
        floor["input_tokens"] = asked // CHARACTERS_A_TOKEN
    floor["output_tokens"] = max(counted.output, told // CHARACTERS_A_TOKEN)
    return floor


def _one(usage: Mapping[str, Any]) -> Counts:
    doubts: list[str] = []
    written = _tokens(usage, "cache_creation_input_tokens", doubts)
    split = usage.get("cache_creation")
    hour = _tokens(split, "ephemeral_1h_input_tokens", doubts) if isinstance(split, Mapping) else 0
    short = _tokens(split, "ephemeral_5m_input_tokens", doubts) if isinstance(split, Mapping) else 0
    written = max(written, hour + short)
    return Counts(
        input=_tokens(usage, "input_tokens", doubts),
        output=_tokens(usage, "output_tokens", doubts),
        cache_read=_tokens(usage, "cache_read_input_tokens", doubts),
        write_5m=written - hour,
        write_1h=hour,
        fast=usage.get("speed") == "fast",
        doubtful=bool(doubts),
    )


def _tokens(usage: Mapping[str, Any], name: str, doubts: list[str]) -> int:
    """A count between 0 and `MOST_TOKENS`. Digits in a string count; anything else that is no number is 0."""
    value = usage.get(name)
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    if value is None:
        return 0
    doubts.append(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:_KEPT_DIGITS])
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return 0
    return int(max(0, min(value, MOST_TOKENS)))
