"""Bodies of events as canonical JSON: one spelling per value, bounded, never failing on what it is given.

Canonical: keys sorted, no spaces, ASCII with \\u escapes (lone surrogates too), no NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

MAX_BYTES = 64 * 1024
"""Size of a body. Past it long strings give way to `{"bytes", "head", "sha256"}`, the longest first."""

HEAD_CHARACTERS = 256
MAX_DEPTH = 32

_THRESHOLDS = (16384, 4096, 1024, 512)
_MAX_INTEGER = 2**63


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


def canonical(value: Any) -> str:
    """The one spelling of a JSON value. Raises `ValueError`, `TypeError` or `RecursionError` on others."""
    return _canonical(value)


def encode_body(body: Mapping[str, Any]) -> str:
    """Canonical JSON of a body, at most `MAX_BYTES` long. What JSON cannot say is put into words."""
    try:
        text = canonical(body)
    except (ValueError, TypeError, RecursionError):
        body = _plain(body, 0)
        text = canonical(body)
    if len(text) <= MAX_BYTES:
        return text
    body = _plain(body, 0)
    for threshold in _THRESHOLDS:
        text = canonical(_shortened(body, threshold))
        if len(text) <= MAX_BYTES:
            return text
    return canonical({"cut": summary(canonical(body).encode())})


def summary(data: bytes) -> dict[str, Any]:
    """What stands for data too long to keep: enough to prove later what it was."""
    head = data[: 4 * HEAD_CHARACTERS].decode("utf-8", "replace")[:HEAD_CHARACTERS]
    return {"bytes": len(data), "head": head, "sha256": sha256(data).hexdigest()}


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -_MAX_INTEGER <= value < _MAX_INTEGER else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return summary(bytes(value))
    if depth >= MAX_DEPTH:
        return "(nested too deeply)"
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return str(value)


def _shortened(value: Any, threshold: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= threshold else summary(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return {key: _shortened(item, threshold) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, threshold) for item in value]
    return value
