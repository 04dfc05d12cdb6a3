"""Tells without parsing that a request needs no adapting, for the path that only forwards bytes.

Looks for the marks of everything that a step might change. Finding none is a promise; finding one is not: a user
may simply have written about it.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from gateway.messages import foreign_signature
from gateway.providers.adapt.attribution import MARK as ATTRIBUTION
from gateway.providers.adapt.capabilities import SAMPLING, Capabilities
from gateway.providers.adapt.features import FEATURES

__all__ = ["untouched"]

_FOREIGN = b'"' + foreign_signature.MARK
_SPECIAL: Mapping[str, tuple[str, ...]] = {
    "cache_scope": ("scope",),
    "cache_ttl": ("ttl",),
    "deferred_tools": ("tool_reference", "tool_addition", "tool_removal"),
    "system_messages": ("system",),
    "thinking_updates": ("updates",),
}
"""Words of the features that are more than fields, tools and blocks."""

_BLANK_TEXTS = tuple(re.compile(rb'"%b"\s*:\s*"(?:\s|\\[nrt])*"' % name) for name in (b"text", b"content"))
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
"""A name may be spelt with escapes, and then no word would match; no known client does."""


def untouched(
    body: bytes,
    capabilities: Capabilities,
    headers: Mapping[str, str] | None = None,
    *,
    foreign_reasoning: bool | None = None,
) -> bool:
    """Whether `adapt` would send these very bytes on, but for the model's name. With `headers` (lower-case)
    also whether they may go as they are. False when unsure. Linear in the body, parses nothing."""
    if not capabilities.open or capabilities.own_reasoning_only or capabilities.max_tokens is not None:
        return False
    if headers is not None and not _plain_headers(headers, capabilities):
        return False
    if foreign_reasoning or (foreign_reasoning is None and _FOREIGN in body):
        return False
    marks = _marks(capabilities)
    return (marks is None and not capabilities.lacks) or _holds_none(body, marks, capabilities)


def _holds_none(body: bytes, marks: re.Pattern[bytes] | None, capabilities: Capabilities) -> bool:
    if not capabilities.has("attribution") and ATTRIBUTION.encode() in body:
        return False
    if (marks is not None and marks.search(body)) or _ESCAPED_ASCII.search(body):
        return False
    return capabilities.has("empty_text") or not any(blank.search(body) for blank in _BLANK_TEXTS)


def _plain_headers(headers: Mapping[str, str], capabilities: Capabilities) -> bool:
    version = headers.get("anthropic-version")
    if version is None or (capabilities.versions is not None and version not in capabilities.versions):
        return False
    betas = (value.strip() for value in headers.get("anthropic-beta", "").split(","))
    return all(capabilities.takes_beta(value) for value in betas if value)


@lru_cache(maxsize=64)
def _marks(capabilities: Capabilities) -> re.Pattern[bytes] | None:
    """What to look for: names with both their quotes, and types by their beginning, since a date may follow."""
    names: set[str] = set()
    beginnings: set[str] = set()
    for name, feature in FEATURES.items():
        if capabilities.has(name):
            continue
        names |= {field.rpartition(".")[2] for field in feature.fields}
        names |= {*_SPECIAL.get(name, ()), *feature.tool_fields, *feature.call_fields, *feature.blocks, *feature.calls}
        beginnings.update(feature.tools)
    if not capabilities.any_reasoning:
        names.add("signature")
    if not capabilities.takes_sampling:
        names.update(SAMPLING)
    if capabilities.thinking:
        names |= {"thinking", "effort"}
    names |= {"file", "url"} - capabilities.sources
    found = {f'{name}"' for name in names} | beginnings
    return re.compile(f'"{_any_of(found)}'.encode()) if found else None


def _any_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, which looks at each place of a text once: they share their beginnings."""
    tails: dict[str, set[str]] = {}
    for word in words:
        if not word:
            return ""  # one ends here: whatever the others go on with does not matter
        tails.setdefault(word[0], set()).add(word[1:])
    choices = [re.escape(first) + _any_of(rest) for first, rest in sorted(tails.items())]
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"
