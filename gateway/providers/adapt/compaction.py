"""Honours compaction blocks: what a summary stands for is not sent again.

A compaction block says that everything before it was summed up. An upstream that does not know such blocks gets
the summary as the user's first text.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message, text_block
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, holds, map_blocks

__all__ = ["compacted", "from_last_summary", "summary_message"]

_MARKS = (b'"compaction"',)


def summary_message(summary: str) -> Message:
    """The user message that stands for all that was summed up."""
    return Message("user", [text_block(f"<conversation-summary>\n{summary}\n</conversation-summary>")])


def compacted(draft: Draft, capabilities: Capabilities) -> Draft:
    """Everything before the last compaction block with content becomes that content; blocks without content
    (the summary failed) are left out."""
    if capabilities.has("compaction") or not draft.mentions(*_MARKS):
        return draft
    messages = from_last_summary(draft.messages)
    return draft if messages is draft.messages else replace(draft, messages=messages)


def from_last_summary(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages an upstream without compaction needs; the same tuple where there is no compaction block."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if message.role != "assistant" or not holds(message, *_MARKS):
            continue
        for nth in range(len(message.blocks) - 1, -1, -1):
            summary = _summary(message.blocks[nth])
            if summary:
                rest = message.blocks[nth + 1 :]
                kept = [message.with_content(rest)] if rest else []
                tail = _without_orphans(rest, messages[at + 1 :])
                return _without_blocks((summary_message(summary), *kept, *tail))
    return _without_blocks(messages)


def _summary(block: Block) -> str:
    content = block.get("content") if block.type == "compaction" else None
    if isinstance(content, list):  # text blocks, as the newer form of the feature words it
        content = "\n".join(str(item.get("text", "")) for item in content if isinstance(item, dict))
    return content if isinstance(content, str) else ""


def _without_blocks(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return map_blocks(
        messages, lambda block: [] if block.type == "compaction" else None, role="assistant", marks=_MARKS
    )


def _without_orphans(rest: Sequence[Block], tail: Sequence[Message]) -> list[Message]:
    """Results right after the summary whose calls are gone become text: a result without a call is refused."""
    calls = _call_ids(rest)
    messages = list(tail)
    for at, message in enumerate(messages):
        if message.role == "assistant":
            calls |= _call_ids(message.blocks)
            continue
        if message.role != "user":
            continue
        blocks = [_as_text(block, calls) for block in message.blocks]
        results = [block for block in blocks if block.type == "tool_result"]
        if len(results) < sum(block.type == "tool_result" for block in message.blocks):
            others = [block for block in blocks if block.type != "tool_result"]
            messages[at] = message.with_content([*results, *others])
        break
    return messages


def _call_ids(blocks: Sequence[Block]) -> set[str]:
    return {str(block.get("id")) for block in blocks if block.type == "tool_use"}


def _as_text(block: Block, calls: set[str]) -> Block:
    if block.type != "tool_result" or str(block.get("tool_use_id")) in calls:
        return block
    content = block.get("content")
    text = content if isinstance(content, str) else jsonbytes.encode(content or "").decode()
    return text_block(f"<earlier-tool-result>\n{text}\n</earlier-tool-result>")
