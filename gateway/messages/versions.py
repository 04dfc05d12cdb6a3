"""The API versions and what each of them refuses.

2026-10-21 takes away what 2023-06-01 still allowed; nothing else differs on the wire. Knows requests; must not
know which upstream answers.
"""

from collections.abc import Iterator
from typing import Any

from gateway.messages.blocks import Message
from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest

__all__ = ["CURRENT", "DEFAULT", "VERSIONS", "check_version"]

DEFAULT = "2023-06-01"
"""What a request without the header is taken for."""

CURRENT = "2026-10-21"

VERSIONS = (DEFAULT, CURRENT)

_SAMPLING = ("temperature", "top_p", "top_k")
_MAX_SHOWN = 40


def check_version(request: MessagesRequest, version: str | None) -> str:
    """The version that counts for this request. Raises `InvalidRequest` for an unknown version, and under
    2026-10-21 for sampling parameters, documents in assistant messages and citations on the user's side."""
    if version is None or not version.strip():
        return DEFAULT
    version = version.strip()
    if version not in VERSIONS:
        known = " or ".join(f'"{name}"' for name in VERSIONS)
        raise InvalidRequest(
            f'anthropic-version: "{version[:_MAX_SHOWN]}" is not a valid version. Did you mean {known}?'
        )
    if version == CURRENT:
        for complaint in _complaints(request):
            raise InvalidRequest(complaint)
    return version


def _complaints(request: MessagesRequest) -> Iterator[str]:
    for name in _SAMPLING:
        if name in request.fields:
            yield f"{name}: Extra inputs are not permitted with anthropic-version {CURRENT}"
    for at, message in enumerate(request.messages):
        yield from _message_complaints(message, f"messages.{at}.content")


def _message_complaints(message: Message, path: str) -> Iterator[str]:
    data = bytes(message.raw) if message.raw is not None else b'"document""citations"'
    if message.role == "assistant" and b'"document"' in data:
        for nth, block in enumerate(message.blocks):
            if block.type == "document":
                yield f"{path}.{nth}: `document` blocks are not permitted in `assistant` messages"
    if message.role != "assistant" and b'"citations"' in data:
        for nth, block in enumerate(message.blocks):
            yield from _citations(block.data, f"{path}.{nth}")


def _citations(block: dict[str, Any], path: str) -> Iterator[str]:
    if block.get("type") == "text" and block.get("citations"):
        yield f"{path}.citations: `citations` are not permitted on `text` blocks outside of `assistant` messages"
    content = block.get("content")
    if block.get("type") == "tool_result" and isinstance(content, list):
        for nth, item in enumerate(content):
            if isinstance(item, dict):
                yield from _citations(item, f"{path}.tool_result.content.{nth}")
