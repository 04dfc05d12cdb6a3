"""Finds what an error body says, in any of the shapes that model services answer with.

Reads only; what follows from it is decided in `failures`. Every part of the body is untrusted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.messages import jsonbytes

__all__ = ["Told", "told_by", "told_by_object"]

_MAX_UNWRAPPED = 4
_MESSAGE_FIELDS = ("message", "Message", "error_message", "errorMessage", "error_description", "detail", "msg")
_CODE_FIELDS = ("__type", "status", "code", "error_code")


@dataclass(frozen=True, slots=True)
class Told:
    """What was found.

    `message` "": none. `kind` is the `type` of the innermost error object; `anthropic` says that it stood in
    the Messages API's own envelope, `wrapped` that this was inside another error's message. `codes` are the
    machine-readable codes on the way there, lower-case, the most telling last. `status` is a number that the
    error object itself gives. `fields` is the innermost object. `filtered` names the categories of a content
    filter; None when no filter had a say.
    """

    message: str = ""
    kind: str = ""
    anthropic: bool = False
    wrapped: bool = False
    codes: tuple[str, ...] = ()
    status: int | None = None
    details: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    filtered: tuple[str, ...] | None = None


def told_by(body: bytes) -> Told:
    """What an HTTP error body says. Nothing for HTML, plain text and broken JSON."""
    decoded = _decoded(body)
    return told_by_object(decoded) if decoded is not None else Told()


def told_by_object(envelope: Mapping[str, Any]) -> Told:
    """What an error object says: `{"error": {...}}` or the inner one, also where a message holds another error
    as JSON text (Databricks, Bedrock behind it)."""
    anthropic, message, kind, status = False, "", "", None
    codes: list[str] = []
    details: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = {}
    filtered: tuple[str, ...] | None = None
    depth = -1
    for depth, layer in enumerate(_layers(envelope)):
        error = layer.get("error")
        inner = error if isinstance(error, dict) else layer
        anthropic = layer.get("type") == "error" and inner is error
        if isinstance(inner.get("type"), str):
            kind = inner["type"]
            codes += [kind.lower()[:80]] if depth else []  # else the HTTP status says it better
        outer = layer if inner is error else {}
        for holder in (outer, outer.get("innererror"), inner.get("innererror"), inner):
            codes += _codes(holder)
            status = _status(holder, status)
            filtered = _filtered(holder) or filtered
        details = inner["details"] if isinstance(inner.get("details"), dict) else details
        fields = inner
        message = _message(inner) or (error if isinstance(error, str) else "") or message
    return Told(message, kind, anthropic, depth > 0, tuple(codes), status, details, fields, filtered)


def _layers(envelope: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The object, then each that is wrapped as text in the message of the one before."""
    layer: Mapping[str, Any] | None = envelope
    for _ in range(_MAX_UNWRAPPED):
        if layer is None:
            return
        yield layer
        error = layer.get("error")
        text = _message(error if isinstance(error, dict) else layer) or (error if isinstance(error, str) else "")
        layer = _wrapped(text)


def _wrapped(text: str) -> Mapping[str, Any] | None:
    """The error object inside a text such as `Bad request: {"message": "..."}`."""
    begin, end = text.find("{"), text.rfind("}")
    if not 0 <= begin < end:
        return None
    found = _decoded(text[begin : end + 1].encode("utf-8", "replace"))
    if found is None or not ("error" in found or any(name in found for name in _MESSAGE_FIELDS)):
        return None
    return found


def _decoded(body: bytes) -> Mapping[str, Any] | None:
    try:
        decoded = jsonbytes.decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(decoded, list) and decoded:  # Google's front ends wrap the object in a list
        decoded = decoded[0]
    return decoded if isinstance(decoded, dict) else None


def _message(error: Mapping[str, Any]) -> str:
    for name in _MESSAGE_FIELDS:
        value = error.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict):  # FastAPI's list of faults
            text = value[0].get("msg")
            if isinstance(text, str) and text:
                return text
    return ""


def _codes(holder: object) -> list[str]:
    values = [holder.get(name) for name in _CODE_FIELDS] if isinstance(holder, dict) else []
    return [value.rpartition("#")[2].lower()[:80] for value in values if isinstance(value, str) and value]


def _status(holder: object, before: int | None) -> int | None:
    for name in ("code", "status", "error_code"):
        value = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return before


def _filtered(holder: object) -> tuple[str, ...] | None:
    """Categories that a content filter objected to (Azure's two spellings); empty when it names none."""
    for name in ("content_filter_result", "content_filter_results"):
        result = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(result, dict):
            return tuple(
                str(category)[:40]
                for category, verdict in sorted(result.items())
                if isinstance(verdict, dict) and verdict.get("filtered") is True
            )
    return None
