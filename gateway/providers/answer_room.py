"""Reads from a refusal how long an answer the model would give, where only the length asked for was too much.

Pure functions over tables of wordings. Must not know how the request is made again.
"""

import re

from gateway.providers.error_shapes import told_by
from gateway.providers.overflow import MAX_LOOKED_AT

__all__ = ["longest_answer", "room_for_answer"]

_MARGIN = 16
"""Tokens left free where a server counts its prompt a little differently each time."""

_COUNT = r"\d[\d,_]{0,14}"  # no server counts further; `int` refuses thousands of digits
_N = f"({_COUNT})"
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
        rf"context length (?:is|of) {_N} tokens.*?requested {_COUNT} tokens \((?:about )?{_N} (?:in|of|from)",
        re.I | re.S,
    ),
    re.compile(
        rf"context length (?:is|of) {_N} tokens.*?{_COUNT} output tokens and your (?:prompt|request)"
        rf" (?:contains|has) (?:at least )?{_N} input",
        re.I | re.S,
    ),
    re.compile(rf"context length (?:is|of) {_N} tokens and your (?:request|prompt) has {_N} input", re.I | re.S),
    re.compile(rf"context length of {_N} tokens.*?: {_N} tokens from the input", re.I | re.S),
    re.compile(rf"exceed context limit.*?(?P<prompt>{_COUNT}) \+ {_COUNT} > (?P<window>{_COUNT})", re.I | re.S),
)
"""Wordings that name the window and the prompt where only both together with the answer are too much."""


def room_for_answer(status: int, body: bytes, asked: int) -> int | None:
    """How many output tokens to ask for instead, where the server refused only the length of the answer: clients
    ask for more than most models can give, and mean "as much as you can". None for any other error."""
    message = _message(status, body)
    for wording in _TOGETHER:
        found = wording.search(message)
        if found is not None:
            window, prompt = (found["window"], found["prompt"]) if found.groupdict() else found.groups()
            return _less(_number(window) - _number(prompt) - _MARGIN, asked)
    return longest_answer(status, body, asked)


def longest_answer(status: int, body: bytes, asked: int) -> int | None:
    """The same where the model gives no longer answer, whatever the prompt."""
    message = _message(status, body)
    for wording in _MOST:
        found = wording.search(message)
        if found is not None:
            return _less(_number(found[1]), asked)
    return None


def _message(status: int, body: bytes) -> str:
    return told_by(body).message[:MAX_LOOKED_AT] if status in (400, 413, 422) else ""


def _less(tokens: int, asked: int) -> int | None:
    return tokens if 0 < tokens < asked else None


def _number(text: str) -> int:
    return int(text.replace(",", "").replace("_", ""))
