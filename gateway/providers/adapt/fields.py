"""Strips header values and body fields of features that the upstream lacks, both or neither.

Unknown ones follow the upstream's kind: one that speaks the vendor's newest API gets them, any other does not.
"""

from collections.abc import Iterable

from gateway.providers.adapt.capabilities import SAMPLING, Capabilities
from gateway.providers.adapt.draft import Draft
from gateway.providers.adapt.features import CORE_FIELDS, FEATURES

__all__ = ["DEFAULT_VERSION", "sent_headers", "with_known_fields"]

DEFAULT_VERSION = "2023-06-01"
"""The API version of a client that names none."""


def with_known_fields(draft: Draft, capabilities: Capabilities) -> Draft:
    """Without the fields of lacking features, and where the upstream is not open, without unknown ones."""
    drop = []
    for name, feature in FEATURES.items():
        if not capabilities.has(name):
            drop += [field for field in feature.fields if field.split(".")[0] in draft.fields]
    if not capabilities.open:
        known = CORE_FIELDS | {field for feature in FEATURES.values() for field in feature.fields}
        drop += [name for name in draft.fields if name not in known]
    draft = draft.without(*(name for name in drop if "." not in name))
    for name in drop:
        outer, _, inner = name.partition(".")
        if inner:
            draft = _without_inner(draft, outer, (inner,))
    if not capabilities.open:
        draft = _without_unknown(draft, "output_config")
    if not capabilities.takes_sampling:
        draft = draft.without(*SAMPLING)
    return _without_updates(draft, capabilities)


def sent_headers(version: str | None, betas: Iterable[str], capabilities: Capabilities) -> dict[str, str]:
    """`anthropic-version`, and `anthropic-beta` if a value is left."""
    if version is None or (capabilities.versions is not None and version not in capabilities.versions):
        version = capabilities.versions[0] if capabilities.versions else DEFAULT_VERSION
    headers = {"anthropic-version": version}
    kept = dict.fromkeys(value for value in betas if capabilities.takes_beta(value))
    if kept:
        headers["anthropic-beta"] = ",".join(kept)
    return headers


def _without_inner(draft: Draft, outer: str, names: Iterable[str]) -> Draft:
    """The object without these fields, and without the object itself once it is empty."""
    value = draft.value(outer)
    if not isinstance(value, dict) or not any(name in value for name in names):
        return draft
    rest = {name: item for name, item in value.items() if name not in names}
    return draft.with_field(outer, rest) if rest else draft.without(outer)


def _without_unknown(draft: Draft, outer: str) -> Draft:
    known = {field.partition(".")[2] for feature in FEATURES.values() for field in feature.fields}
    value = draft.value(outer)
    if not isinstance(value, dict):
        return draft
    return _without_inner(draft, outer, [name for name in value if name not in known])


def _without_updates(draft: Draft, capabilities: Capabilities) -> Draft:
    """Thinking shown as `updates` is a beta of its own; without it the display is the model's default."""
    thinking = draft.value("thinking") if not capabilities.has("thinking_updates") else None
    if not isinstance(thinking, dict) or thinking.get("display") != "updates":
        return draft
    return _without_inner(draft, "thinking", ("display",))
