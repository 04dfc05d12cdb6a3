"""Lowers what a request asks for to what a model gives: clients send 128,000 output tokens to any model.

Pure functions over the encoded body. Knows `model`, `max_tokens` and the thinking budget, nothing else of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.errors import InvalidRequest

__all__ = ["capped", "model_in"]

SMALLEST_BUDGET = 1024
"""Thinking tokens; the API refuses less."""


class _Named(msgspec.Struct):
    model: str


_named = msgspec.json.Decoder(_Named)


def model_in(body: bytes) -> str:
    """The model a body names. Builds nothing else of it. Raises `InvalidRequest`."""
    try:
        return _named.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"model: {error}") from error


def capped(body: bytes, limit: int) -> bytes:
    """The body with `max_tokens` at most `limit`, the very same bytes if it was. A thinking budget stays below
    it (a budget must leave room for the answer); where there is no room for one, thinking is left out."""
    try:
        fields = jsonbytes.decode_fields(body)
        asked = jsonbytes.decode_any(fields["max_tokens"]) if "max_tokens" in fields else None
        if not isinstance(asked, int) or isinstance(asked, bool) or asked <= limit:
            return body
        changed: dict[str, Any] = {**fields, "max_tokens": limit}
        thinking: Any = jsonbytes.decode_any(fields["thinking"]) if "thinking" in fields else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from error
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int) and budget >= limit:
        if limit // 2 >= SMALLEST_BUDGET:
            changed["thinking"] = {**thinking, "budget_tokens": limit // 2}
        else:
            del changed["thinking"]
    return jsonbytes.encode(changed)
