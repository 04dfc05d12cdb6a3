"""Tells without parsing that a request needs no adapting, for the path that only forwards bytes.

Looks for the marks of everything that a step might change. Finding none is a promise; finding one is not: a user
may simply have written about it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from gateway.messages import foreign_signature
from gateway.providers.adapt.attribution import MARK as ATTRIBUTION
from gateway.providers.adapt.capabilities import Capabilities
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

_WORD = re.compile(rb'"([a-z_]{2,60})')
"""What names and types begin with. One pass that collects all of them is many times faster than one search for
each, because quotes are everywhere in JSON."""

_BLANK_TEXTS = tuple(re.compile(rb'"%b"\s*:\s*"(?:\s|\\[nrt])*"' % name) for name in (b"text", b"content"))
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
"""A name may be spelt with escapes, and then no word would match; no known client does."""


def untouched(body: bytes, capabilities: Capabilities, headers: Mapping[str, str] | None = None) -> bool:
    """Whether `adapt` would send these very bytes on, but for the model's name. With `headers` (lower-case)
    also whether they may go as they are. False when unsure. Linear in the body, parses nothing."""
    if not capabilities.open or capabilities.own_reasoning_only or capabilities.max_tokens is not None:
        return False
    if headers is not None and not _plain_headers(headers, capabilities):
        return False
    if _FOREIGN in body:
        return False
    words = _words(capabilities)
    return (not words and not capabilities.lacks) or _holds_none(body, words, capabilities)


def _holds_none(body: bytes, words: frozenset[bytes], capabilities: Capabilities) -> bool:
    if not capabilities.has("attribution") and ATTRIBUTION.encode() in body:
        return False
    if not words.isdisjoint(_WORD.findall(body)) or _ESCAPED_ASCII.search(body):
        return False
    return capabilities.has("empty_text") or not any(blank.search(body) for blank in _BLANK_TEXTS)


def _plain_headers(headers: Mapping[str, str], capabilities: Capabilities) -> bool:
    version = headers.get("anthropic-version")
    if version is None or (capabilities.versions is not None and version not in capabilities.versions):
        return False
    betas = (value.strip() for value in headers.get("anthropic-beta", "").split(","))
    return all(capabilities.takes_beta(value) for value in betas if value)


@lru_cache(maxsize=64)
def _words(capabilities: Capabilities) -> frozenset[bytes]:
    words: set[str] = set()
    for name, feature in FEATURES.items():
        if capabilities.has(name):
            continue
        words |= {field.rpartition(".")[2] for field in feature.fields}
        words |= {*_SPECIAL.get(name, ()), *feature.tool_fields, *feature.call_fields, *feature.blocks}
        words |= {word + end for word in (*feature.tools, *feature.calls) for end in ("", "_2")}  # "_2": a date follows
    if not capabilities.any_reasoning:
        words.add("signature")
    if capabilities.thinking:
        words |= {"thinking", "effort"}
    words |= {"file", "url"} - capabilities.sources
    return frozenset(found[1] for word in words if (found := _WORD.match(b'"' + word.encode())))
