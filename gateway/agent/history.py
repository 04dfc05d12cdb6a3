"""From the client's conversation to the upstream's: display text out, sealed pairs back into turns.

A message of the client holds everything that one turn did: text, display blocks, resolved pairs, text again.
The upstream knows calls and results as separate turns. The rebuilt conversation is the same each time, so
that the upstream's prefix cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.agent.pairs import MARK, Call, Pairs, quoted
from gateway.messages.blocks import SERVER_TOOLS, Block, Message, text_block

INTERRUPTED = "[The turn was interrupted before its call had a result.]"
"""What the model is told of an answer that held nothing but the display of a running call."""


def rebuild(messages: Sequence[Message], pairs: Pairs) -> list[Message]:
    """The conversation for the upstream. Untouched messages keep their bytes.

    A pair without a valid seal, and one that repeats an id, becomes quoted text.
    """
    rebuilt: list[Message] = []
    owed: list[Block] = []
    seen: set[str] = set()
    for message in messages:
        if message.role == "assistant":
            if owed:
                rebuilt.append(Message("user", owed))
            turns, owed = _split(message, pairs, seen)
            rebuilt.extend(turns)
        elif message.role == "user" and owed:
            rebuilt.append(message.with_content([*owed, *message.blocks]))
            owed = []
        else:
            if owed:
                rebuilt.append(Message("user", owed))
                owed = []
            rebuilt.append(message)
    if owed:
        rebuilt.append(Message("user", owed))
    return rebuilt


def call_ids(messages: Sequence[Message]) -> set[str]:
    """Ids of all calls in a rebuilt conversation; a new call must not repeat one."""
    return {
        str(block.get("id"))
        for message in messages
        if message.role == "assistant" and not isinstance(message.content, str)
        for block in message.content
        if block.type == "tool_use"
    }


def _split(message: Message, pairs: Pairs, seen: set[str]) -> tuple[list[Message], list[Block]]:
    """The message as turns, and the results still owed to the calls of its last turn."""
    if isinstance(message.content, str) or not any(_ours(block) for block in message.content):
        return [message], []
    results = {str(block.get("tool_use_id")): block for block in message.content if block.type.endswith("_tool_result")}
    turns: list[Message] = []
    current: list[Block] = []
    owed: list[Block] = []
    step: int | None = None

    def turn_over() -> None:
        nonlocal current, owed
        turns.append(message.with_content(current))
        turns.append(Message("user", owed))
        current, owed = [], []

    for block in message.content:
        if is_display(block):
            continue
        if block.type == "server_tool_use" and block.get("name") not in SERVER_TOOLS:
            result = results.get(str(block.get("id")))
            call = _genuine(block, result, pairs, seen)
            if owed and (call is None or call.step != step):
                turn_over()
            if call is None:
                current.append(text_block(quoted(block.data, result.data if result else None)))
                continue
            step = call.step
            current.append(Block.of(call.tool_use()))
            owed.append(Block.of(call.tool_result()))
        elif block.type.endswith("_tool_result") and MARK in block.data:
            continue
        elif block.type == "tool_use":
            current.append(block)
        else:
            if owed:
                turn_over()
            current.append(block)
    if current or not turns:
        # Where only display is left, a turn is: what follows it must not move up to what came before.
        turns.append(message.with_content(current or [text_block(INTERRUPTED)]))
    return turns, owed


def _genuine(use: Block, result: Block | None, pairs: Pairs, seen: set[str]) -> Call | None:
    call = pairs.recognise(use.data, result.data) if result is not None else None
    if call is None or call.id in seen:
        return None
    seen.add(call.id)
    return call


def is_display(block: Block) -> bool:
    """Whether the block was only for the person's eyes."""
    if block.type != "text":
        return False
    mark = block.get(MARK)
    return isinstance(mark, dict) and mark.get("display_only") is True


def _ours(block: Block) -> bool:
    return (
        is_display(block)
        or (block.type == "server_tool_use" and block.get("name") not in SERVER_TOOLS)
        or (block.type.endswith("_tool_result") and MARK in block.data)
    )
