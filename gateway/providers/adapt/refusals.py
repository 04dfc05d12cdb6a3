"""What an upstream cannot do and nobody may pretend to: the request is answered with 400.

Each text names the field, because clients read it: Claude Code sends the request again without `safeguards`, the
SDK's tool runner without `thread`.
"""

from collections.abc import Iterator
from typing import Any

from gateway.messages.errors import InvalidRequest
from gateway.messages.rules import thread_refusal
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, holds

__all__ = ["refused"]

_MEDIA = frozenset({"document", "image"})
_SOURCE_MARKS = {"url": b'"url"', "file": b'"file"'}


def refused(draft: Draft, capabilities: Capabilities) -> Draft:
    """The draft as it is. Raises `InvalidRequest` for threads, safeguards, sources and uploads that the
    upstream has no way to take: leaving them out would change what the model is asked."""
    if draft.value("thread") is not None and not capabilities.has("threads"):
        raise thread_refusal()
    if draft.value("safeguards") is not None and not capabilities.has("safeguards"):
        raise InvalidRequest("safeguards: not supported by the upstream of this model")
    _check_media(draft, capabilities)
    return draft


def _check_media(draft: Draft, capabilities: Capabilities) -> None:
    marks = [mark for kind, mark in _SOURCE_MARKS.items() if kind not in capabilities.sources]
    if not capabilities.has("code_execution"):
        marks.append(b'"container_upload"')
    if not marks or not draft.mentions(*marks):
        return
    for at, message in enumerate(draft.messages):
        if message.role != "user" or not holds(message, *marks):
            continue
        for path, block in _placed([block.data for block in message.blocks], f"messages.{at}.content"):
            _check_block(path, block, capabilities)


def _placed(blocks: list[dict[str, Any]], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for nth, block in enumerate(blocks):
        yield f"{path}.{nth}", block
        content = block.get("content")
        if block.get("type") == "tool_result" and isinstance(content, list):
            items = [item if isinstance(item, dict) else {} for item in content]
            yield from _placed(items, f"{path}.{nth}.tool_result.content")


def _check_block(path: str, block: dict[str, Any], capabilities: Capabilities) -> None:
    kind = str(block.get("type"))
    if kind == "container_upload" and not capabilities.has("code_execution"):
        raise InvalidRequest(f"{path}: container_upload blocks are not supported by the upstream of this model")
    source = block.get("source")
    if kind not in _MEDIA or not isinstance(source, dict):
        return
    missing = next((name for name in _SOURCE_MARKS if name == source.get("type")), None)
    if missing is not None and missing not in capabilities.sources:
        raise InvalidRequest(
            f"{path}.source.type: {missing} sources are not supported by the upstream of this model; "
            "send the content as base64"
        )
