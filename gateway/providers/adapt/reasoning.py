"""Keeps thinking from models that did not make it.

A signature binds thinking to the vendor that made it; any other vendor refuses the block, or worse, trusts it.
The gateway's own signatures name upstream and model, Anthropic's hold wherever Claude is served.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.messages import foreign_signature
from gateway.messages.blocks import Block, Message
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks

__all__ = ["open_turn_lacks_thinking", "with_own_thinking"]

_KINDS = {"redacted_thinking": "data", "thinking": "signature"}
"""The types of thinking blocks, and the field of each that only its maker can write."""

_OWN = foreign_signature.MARK.decode()


def with_own_thinking(draft: Draft, capabilities: Capabilities) -> Draft:
    """Without the thinking blocks that this upstream and model may not get."""

    def keep(block: Block) -> list[Block] | None:
        return [] if block.type in _KINDS and not _welcome(block, draft, capabilities) else None

    marks = (b"thinking",) if capabilities.own_reasoning_only or not capabilities.any_reasoning else (_OWN.encode(),)
    if not draft.mentions(*marks):
        return draft
    messages = map_blocks(draft.messages, keep, role="assistant", marks=marks)
    return draft if messages is draft.messages else replace(draft, messages=messages, lost_thinking=True)


def _welcome(block: Block, draft: Draft, capabilities: Capabilities) -> bool:
    proof = block.get(_KINDS[block.type])
    if not isinstance(proof, str) or not proof:
        return capabilities.any_reasoning
    if proof.startswith(_OWN):
        origin = foreign_signature.read(proof)
        return capabilities.own_reasoning_only and origin is not None and origin.belongs_to(draft.upstream, draft.model)
    return not capabilities.own_reasoning_only


def open_turn_lacks_thinking(messages: Sequence[Message]) -> bool:
    """Whether the last answer called tools and does not begin with thinking: Claude with a manual budget
    refuses to go on from there."""
    answer: list[Block] = []
    for message in reversed(messages):
        if message.role == "assistant":
            answer = [*message.blocks, *answer]
        elif answer and message.role == "user":
            break
    return any(block.type == "tool_use" for block in answer) and answer[0].type not in _KINDS
