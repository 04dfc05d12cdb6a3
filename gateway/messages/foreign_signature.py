"""Tells reasoning of another vendor's model from reasoning that Anthropic signed.

The Messages API gives every thinking block a signature. A model behind another API has none, so the gateway
writes one that names where the block came from; only that upstream and model may ever get the block back.
Nothing here is secret or proves anything: a client can write such a text, so what `read` returns is a hint
about origin, never a permission. Knows one text format; must not know upstreams, requests or streams.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

__all__ = ["MARK", "MAX_LENGTH", "ForeignSignature", "make", "read"]

MARK = b"bh1."
"""What every signature of the gateway's own begins with. No Anthropic signature does: theirs are plain base64,
which has no full stop."""

MAX_LENGTH = 256 * 1024
"""Characters of one signature. Payloads carry another vendor's encrypted reasoning at most."""

_PREFIX = MARK.decode()
_FIXED = frozenset({"u", "m"})


@dataclass(frozen=True, slots=True)
class ForeignSignature:
    """Where a thinking block came from: the gateway's name of the upstream, the model's name there, and
    whatever that upstream's translator wants back with the block (`payload`, plain JSON)."""

    upstream: str
    model: str
    payload: Mapping[str, Any] = field(default_factory=dict)

    def belongs_to(self, upstream: str, model: str) -> bool:
        """Whether the block may go back to this model."""
        return self.upstream == upstream and self.model == model


def make(upstream: str, model: str, payload: Mapping[str, Any] | None = None) -> str:
    """The signature text: `bh1.` and base64url JSON without padding. Keys `u` and `m` are taken.

    Raises `ValueError` when a payload uses those keys or makes the text longer than `MAX_LENGTH`.
    """
    extra = dict(payload or {})
    if _FIXED & extra.keys():
        raise ValueError("a payload may not use the keys 'u' and 'm'")
    encoded = msgspec.json.encode({"u": upstream, "m": model, **extra})
    text = _PREFIX + base64.urlsafe_b64encode(encoded).decode().rstrip("=")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a signature of {len(text)} characters is over the limit of {MAX_LENGTH}")
    return text


def read(signature: object) -> ForeignSignature | None:
    """What `make` was given; None for anything that it did not write, whatever its type."""
    if not isinstance(signature, str) or not signature.startswith(_PREFIX) or len(signature) > MAX_LENGTH:
        return None
    text = signature[len(_PREFIX) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        value = msgspec.json.decode(raw)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    upstream, model = value.pop("u", None), value.pop("m", None)
    if not isinstance(upstream, str) or not isinstance(model, str):
        return None
    return ForeignSignature(upstream, model, value)
