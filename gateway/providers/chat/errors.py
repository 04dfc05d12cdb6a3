"""Errors that only chat servers make: inside a 200 answer.

What error bodies look like and what their codes mean is the business of `gateway.providers.failures`. Pure.
"""

from collections.abc import Mapping
from typing import Any

from gateway.providers.base import UpstreamError
from gateway.providers.failures import error_from_event

__all__ = ["error_in"]

_ERROR_FIELDS = ("detail", "error_code")


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
