"""JSON to and from bytes in one place, safe for the odd text that tools and models produce.

Knows nothing of the Messages API beyond the fact that its bodies are JSON objects.
"""

import itertools
import re
from typing import Any

import msgspec

__all__ = ["MAX_DEPTH", "Raw", "decode_any", "decode_fields", "decode_list", "deeper_than", "encode"]

Raw = msgspec.Raw
"""Undecoded JSON: encoded again byte for byte."""

MAX_DEPTH = 200
"""Deepest nesting of arrays and objects a request may have; real requests stay below 30."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()
_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACKETS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{]}")
_USUAL_DEPTH = 24


def decode_fields(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The fields of an object, undecoded and in order; of a repeated key the last value counts.

    Raises `msgspec.DecodeError` (malformed), `msgspec.ValidationError` (not an object), `RecursionError`.
    """
    return _fields.decode(data)


def decode_list(data: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """The items of an array, undecoded. Raises as `decode_fields`."""
    return _list.decode(data)


def decode_any(data: bytes | msgspec.Raw) -> Any:
    """Plain Python values. Raises `msgspec.DecodeError`, `UnicodeDecodeError`, `RecursionError`."""
    return _any.decode(data)


def _to_json(value: object) -> object:
    encoded = getattr(value, "__json__", None)
    if encoded is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return encoded()


_encoder = msgspec.json.Encoder(enc_hook=_to_json)


def encode(value: object) -> bytes:
    """Compact UTF-8 JSON. `Raw` parts stay as they are; objects with a `__json__` method become its result.

    Lone surrogates, which no UTF-8 can hold, become U+FFFD: text cut inside an emoji must not kill a stream.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_without_surrogates(value))


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    if hasattr(value, "__json__"):
        return _without_surrogates(value.__json__())
    return value


def deeper_than(limit: int, document: bytes) -> bool:
    """Whether the arrays and objects of a *valid* JSON document nest deeper than that.

    No deeper than there are brackets; only with more of them is it worth counting, without building anything.
    Strings are cut out first (escaped backslashes, then escaped quotes, then every second part between
    quotes), what remains is brackets to count. Needed because the decoders are recursive.
    """
    if document.count(b"[") + document.count(b"{") <= limit:
        return False
    outside = b"".join(document.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    steps = outside.translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(min(limit, _USUAL_DEPTH)):  # each round takes the innermost level off: few do for any real request
        if not steps:
            return False
        steps = steps.replace(b"\x01\xff", b"")
        limit -= 1
    return max(itertools.accumulate(memoryview(steps).cast("b")), default=0) > limit
