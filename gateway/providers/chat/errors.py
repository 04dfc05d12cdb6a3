"""Errors that only chat servers make: inside a 200 answer, and about the length of the answer asked for.

What error bodies look like and what their codes mean is the business of `gateway.providers.failures`. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.providers.base import UpstreamError
from gateway.providers.error_shapes import told_by
from gateway.providers.failures import error_from_event

__all__ = ["error_in", "room_for_answer"]

_ERROR_FIELDS = ("detail", "error_code")
_MARGIN = 16
"""Tokens left free where a server counts its prompt a little differently each time."""

_N = r"(\d[\d,_]*)"
_MOST = (
    re.compile(rf"supports at most {_N} completion tokens", re.I),  # OpenAI
    re.compile(rf"valid range of max_tokens is \[\d+, ?{_N}\]", re.I),  # DeepSeek
    re.compile(
        rf"max(?:_completion|_output)?_?tokens\D{{0,40}}\d*\)?\D{{0,40}}"
        rf"(?:cannot exceed|must be (?:less than or equal to|<=|at most)|should be (?:less than or equal to|<=)"
        rf"|exceeds? the (?:model )?(?:limit|maximum)(?: \w+)? of) {_N}",
        re.I,
    ),  # Databricks and others
    re.compile(rf"max(?:imum)?[ _](?:output|completion|new)[ _]tokens\D{{0,40}}(?:is|of|:|<=|=) ?{_N}", re.I),
    re.compile(rf"max_tokens: \d+ > {_N}", re.I),  # Claude
)
"""Wordings that name the most output tokens of a model."""

_TOGETHER = (
    # (context window, prompt): vLLM, OpenAI, DeepSeek; newer vLLM; vLLM's check before; SGLang
    re.compile(
        rf"context length (?:is|of) {_N} tokens.*?requested \d[\d,_]* tokens \((?:about )?{_N} (?:in|of|from)",
        re.I | re.S,
    ),
    re.compile(
        rf"context length (?:is|of) {_N} tokens.*?\d[\d,_]* output tokens and your (?:prompt|request)"
        rf" (?:contains|has) (?:at least )?{_N} input",
        re.I | re.S,
    ),
    re.compile(rf"context length (?:is|of) {_N} tokens and your (?:request|prompt) has {_N} input", re.I | re.S),
    re.compile(rf"context length of {_N} tokens.*?: {_N} tokens from the input", re.I | re.S),
    re.compile(r"exceed context limit.*?(?P<prompt>\d+) \+ \d+ > (?P<window>\d+)", re.I | re.S),
)
"""Wordings that name the window and the prompt where only both together with the answer are too much."""


def error_in(chunk: Mapping[str, Any]) -> UpstreamError | None:
    """The failure that a chunk, or a whole 200 answer, tells of; None for anything else."""
    if chunk.get("error"):
        return error_from_event(chunk)
    choices = chunk.get("choices")
    if isinstance(choices, list):
        first = choices[0] if choices else None
        failed = first.get("error") if isinstance(first, dict) else None
        return error_from_event({"error": failed}) if failed else None
    if chunk.get("object") == "error" or chunk.get("type") == "error" or any(chunk.get(n) for n in _ERROR_FIELDS):
        return error_from_event(chunk)
    return None


def room_for_answer(status: int, body: bytes, asked: int) -> int | None:
    """How many output tokens to ask for instead, where the server refused only the length of the answer: clients
    ask for more than most models can give, and mean "as much as you can". None for any other error."""
    if status not in (400, 413, 422):
        return None
    message = told_by(body).message
    for wording in _TOGETHER:
        found = wording.search(message)
        if found is not None:
            window, prompt = (found["window"], found["prompt"]) if found.groupdict() else found.groups()
            return _less(_number(window) - _number(prompt) - _MARGIN, asked)
    for wording in _MOST:
        found = wording.search(message)
        if found is not None:
            return _less(_number(found[1]), asked)
    return None


def _less(tokens: int, asked: int) -> int | None:
    return tokens if 0 < tokens < asked else None


def _number(text: str) -> int:
    return int(text.replace(",", "").replace("_", ""))
