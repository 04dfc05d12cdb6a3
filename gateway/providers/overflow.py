"""Recognises that a prompt did not fit, in every provider's wording, and says it in the one that clients know.

Claude Code shortens the conversation by itself when it reads that wording. Pure functions over one table.
"""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["INPUT_TOO_LONG", "MAX_LOOKED_AT", "overflow_message"]

INPUT_TOO_LONG = "Input is too long."
"""The sentence for a request too large by size: Bedrock's own, known to clients."""

PROMPT_TOO_LONG = "prompt is too long"

MAX_LOOKED_AT = 4096
"""Characters of a message that are looked at."""

_N = r"(?P<{}>\d[\d,_]{{0,14}})"


def _row(pattern: str) -> re.Pattern[str]:
    """`<used>`, `<input>`, `<output>`, `<limit>` in a pattern are numbers."""
    for name in ("used", "input", "output", "limit"):
        pattern = pattern.replace(f"<{name}>", _N.format(name))
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_OURS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        r"prompt is too long: \d+ tokens > \d+ maximum",
        r"input length and `?max_tokens`? exceed context limit: \d+ \+ \d+ > \d+,"
        r" decrease input length or `?max_tokens`? and try again",
    )
)
"""Sentences that clients know already: cut out of whatever wraps them."""

_SIZES: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\binput is too long\b",  # Bedrock
        # Vertex
        r"request (?:payload )?size[^.]{0,60}exceeds? the (?:maximum |allowed )?(?:size |payload size )?limit",
        r"request payload size exceeds",
    )
)
"""Too large by size, no tokens named."""

_WORDINGS: tuple[re.Pattern[str], ...] = tuple(
    _row(pattern)
    for pattern in (
        # OpenAI, vLLM, DeepSeek: prompt and answer together
        r"maximum context length (?:is|of) <limit>.{0,80}?requested (?:about )?<used> tokens"
        r" ?\((?:about )?<input> (?:in|of|from) (?:the |your )?(?:messages|prompt|text input|input)"
        r"[,;] <output> (?:in|for|of) the (?:completion|output)",
        # SGLang
        r"maximum context length of <limit> tokens.{0,80}?total of <used> tokens: <input> tokens from the input"
        r" messages and <output> tokens",
        # OpenAI
        r"maximum context length is <limit> tokens.{0,40}?your (?:messages|prompt|request)"
        r" (?:resulted in|contains?|has) <used>",
        r"exceed the configured limit of <limit> tokens.{0,40}?resulted in <used>",
        # OpenRouter, and others that name a total only
        r"maximum (?:context|prompt|model) length (?:is|of) <limit>.{0,120}?(?:requested|contains|resulted in|has)"
        r" (?:about )?<used>",
        # vLLM
        r"passed <used> input tokens.{0,120}?context length is only <limit>",
        r"prompt \(length <used>\) is longer than the maximum model length of <limit>",
        # SGLang
        r"input \(<used> tokens\) is longer than the model's context length \(<limit> tokens\)",
        # llama.cpp
        r"request \(<used> tokens\) exceeds the available context size \(<limit> tokens\)",
        r"requested tokens \(<used>\) exceed context window of <limit>",
        # LM Studio
        r"first <used> tokens when context the overflows.{0,120}?context length of only <limit>",
        # Google
        r"input token count \(?<used>\)? exceeds the maximum number of tokens(?: allowed)? \(?<limit>",
        r"input token count is <used> but (?:the )?model only supports up to <limit>",
        # Mistral
        r"prompt contains <used> tokens.{0,60}?too large for model with <limit>",
        # GitHub, Cerebras, Moonshot, Cohere, TGI, Fireworks
        r"prompt token count of <used> exceeds the limit of <limit>",
        r"current length is <used> while limit is <limit>",
        r"exceeded model token limit:? <limit> \(requested:? <used>",
        r"cannot exceed <limit> - received <used>",
        r"must have less than <limit> tokens\. Given:? <used>",
        r"prompt is too long:? <used>.{0,40}?(?:maximum|context length|limit)\D{0,20}<limit>",
        r"number of (?:input )?tokens \(<used>\) exceed(?:s|ed) (?:the )?(?:maximum|max)\D{0,40}<limit>",
    )
)
"""Wordings with numbers. The first that fits counts."""

_PHRASES: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"prompt is too long",
        r"prompt too long[;,:]? exceeded",
        r"context[_ ]length[_ ]exceeded",
        r"exceeds? (?:the |this model's |model )?(?:available )?context (?:size|window|length)",
        r"exceeds? (?:the )?(?:model's )?max(?:imum)? (?:context|prompt|model|input) length",
        r"maximum context length",
        r"context window exceeds limit",
        r"(?:greater|longer) than the (?:model's )?context length",
        r"reduce the length of the (?:input )?(?:messages|prompt)",
        r"input token count.{0,40}exceeds the maximum",
        r"input tokens exceed",
        r"(?:input|prompt) exceeds max(?:imum)? (?:length|tokens)",
        r"(?:maximum|max) (?:number of )?input tokens exceeded",
        r"exceeded max(?:imum)? (?:number of )?input tokens",
    )
)
"""Wordings without numbers."""

_CODES = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "model_max_prompt_tokens_exceeded",
    }
)
"""Codes that say it without words."""


def overflow_message(
    message: str, codes: frozenset[str] = frozenset(), fields: Mapping[str, Any] | None = None
) -> str | None:
    """What the client is told, or None when this is no overflow.

    `prompt is too long: N tokens > M maximum`, numbers as far as they are known; where prompt and answer
    only together are too much, the sentence that makes a client ask for a shorter answer; `INPUT_TOO_LONG`
    for sizes. `codes` are lower-case; `fields` the error's object (llama.cpp counts there).
    """
    message = message[:MAX_LOOKED_AT]
    for known in _OURS:
        if found := known.search(message):
            return found[0]
    for wording in _WORDINGS:
        if found := wording.search(message):
            return _said(found.groupdict())
    counted = fields or {}
    if _is_count(counted.get("n_prompt_tokens")) and _is_count(counted.get("n_ctx")):
        return _said({"used": str(counted["n_prompt_tokens"]), "limit": str(counted["n_ctx"])})
    if any(size.search(message) for size in _SIZES):
        return INPUT_TOO_LONG
    if codes & _CODES or any(phrase.search(message) for phrase in _PHRASES):
        return PROMPT_TOO_LONG
    return None


def _said(numbers: Mapping[str, str | None]) -> str:
    used, limit, prompt, answer = (_number(numbers.get(name)) for name in ("used", "limit", "input", "output"))
    if prompt is not None and answer is not None and limit is not None and prompt <= limit:
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {limit}, "
            "decrease input length or `max_tokens` and try again"
        )
    total = prompt if prompt is not None else used
    if total is None or limit is None or total <= limit:
        return PROMPT_TOO_LONG
    return f"{PROMPT_TOO_LONG}: {total} tokens > {limit} maximum"


def _number(text: str | None) -> int | None:
    return None if text is None else int(text.replace(",", "").replace("_", ""))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
