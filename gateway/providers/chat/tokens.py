"""Token counts of a chat answer in the terms of the Messages API, whatever the server says about them.

Counts that are missing, negative or absurd are replaced by estimates. Knows numbers; must not know events.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["Tokens"]

_ABSURD = 50_000_000
"""No model reads or writes as many tokens in one answer."""
_CHARACTERS_PER_TOKEN = 4


class Tokens:
    """Counts of one answer. `estimated_input`: what the request is believed to hold."""

    def __init__(self, estimated_input: int) -> None:
        self._estimated = max(0, estimated_input)
        self._usage: Mapping[str, Any] = {}
        self.written = 0
        """Characters the answer has had so far."""
        self.reported = False

    def take(self, usage: Mapping[str, Any] | None) -> None:
        """A report; later ones stand over earlier ones."""
        if usage:
            self._usage = {**self._usage, **{name: value for name, value in usage.items() if value is not None}}
            self.reported = True

    @property
    def start(self) -> dict[str, Any]:
        """For `message_start`."""
        return {**self._input(), "output_tokens": 1}

    @property
    def total(self) -> int:
        """Prompt and answer together."""
        return sum(self._input().values()) + self._output()

    @property
    def final(self) -> dict[str, Any]:
        """For `message_delta`: cumulative."""
        output = self._output()
        counts: dict[str, Any] = {**self._input(), "output_tokens": output}
        thinking = _count(_inner(self._usage, "completion_tokens_details").get("reasoning_tokens"))
        if thinking:
            counts["output_tokens_details"] = {"thinking_tokens": min(thinking, output)}
        return counts

    def _input(self) -> dict[str, int]:
        """The prompt without what came from the cache: the API never counts a token twice."""
        usage = self._usage
        prompt = _count(usage.get("prompt_tokens"))
        cached = _first(
            _inner(usage, "prompt_tokens_details").get("cached_tokens"),
            usage.get("cache_read_input_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            usage.get("cached_tokens"),
        )
        written = _first(
            usage.get("cache_creation_input_tokens"),
            _inner(usage, "prompt_tokens_details").get("cache_creation_tokens"),
            _inner(usage, "prompt_tokens_details").get("cache_write_tokens"),
        )
        if not prompt:
            prompt, cached, written = self._estimated, 0, 0
        if cached > prompt and _count(usage.get("cache_read_input_tokens")):  # counted beside the prompt
            prompt += cached + written
        cached = min(cached, prompt)
        written = min(written, prompt - cached)
        return {
            "input_tokens": prompt - cached - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
        }

    def _output(self) -> int:
        said = _count(self._usage.get("completion_tokens"))
        if said:
            return said
        return -(-self.written // _CHARACTERS_PER_TOKEN)


def _inner(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _first(*values: object) -> int:
    return next((count for value in values if (count := _count(value))), 0)


def _count(value: object) -> int:
    """A believable count, else 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _ABSURD:
        return 0
    return int(value)
