"""Leaves out assistant text that says nothing.

Many models put blank lines before a tool call. The client sends them back, and the vendor's own API refuses text
without a visible character.
"""

from dataclasses import replace

from gateway.messages.blocks import Block
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks

__all__ = ["without_empty_text"]


def without_empty_text(draft: Draft, capabilities: Capabilities) -> Draft:
    """Assistant messages without blank text blocks; one that held nothing else is left out."""
    if capabilities.has("empty_text"):
        return draft
    messages = map_blocks(draft.messages, _spoken, role="assistant")
    kept = tuple(message for message in messages if message.role != "assistant" or message.content)
    if len(kept) == len(draft.messages) and messages is draft.messages:
        return draft
    return replace(draft, messages=kept)


def _spoken(block: Block) -> list[Block] | None:
    return [] if block.type == "text" and not str(block.get("text") or "").strip() else None
