"""Leaves out assistant text that says nothing.

Many models put blank lines before a tool call. The client sends them back, and the vendor's own API refuses text
without a visible character.
"""

from dataclasses import replace
from operator import is_

from gateway.messages.blocks import Message, text_block
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import NOTHING, Draft, must_stay

__all__ = ["without_empty_text"]


def without_empty_text(draft: Draft, capabilities: Capabilities) -> Draft:
    """Assistant messages without blank text blocks. One that held nothing else is left out, unless a system message
    stands before it, which only an answer may follow."""
    if capabilities.has("empty_text"):
        return draft
    kept: list[Message] = []
    for message in draft.messages:
        spoken = _spoken(message)
        if spoken is not None:
            kept.append(spoken)
        elif must_stay(message, kept):
            kept.append(message.with_content([text_block(NOTHING)]))
    if len(kept) == len(draft.messages) and all(map(is_, kept, draft.messages)):
        return draft
    return replace(draft, messages=tuple(kept))


def _spoken(message: Message) -> Message | None:
    """The message without blank texts; None where nothing else is in it."""
    if message.role != "assistant":
        return message
    if isinstance(message.content, str):
        return message if message.content.strip() else None
    blocks = [block for block in message.content if block.type != "text" or str(block.get("text") or "").strip()]
    if not blocks:
        return None
    return message if len(blocks) == len(message.content) else message.with_content(blocks)
