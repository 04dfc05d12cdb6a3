"""Every tool call has its result in the next turn, and every result its call: the API's rule as a check.

Knows messages. Must not know which calls the gateway ran itself: the caller rebuilds those pairs first.
"""

from collections.abc import Iterator, Sequence

from gateway.messages.blocks import Block, Message, text_block
from gateway.messages.errors import InvalidRequest

__all__ = ["check_pairing"]

_Placed = tuple[str, Block]

_WORDS = text_block("...")
"""Stands for content that is a mere string: what it says does not matter here."""


def check_pairing(messages: Sequence[Message]) -> None:
    """Raises `InvalidRequest` in the API's words. Neighbours of one role count as one turn; system entries
    between turns are passed over."""
    pending: list[str] = []
    asked_at = ""
    seen: set[str] = set()
    for role, path, blocks in _turns(messages):
        if role == "assistant":
            _refuse_unanswered(pending, asked_at)
            pending = _call_ids(blocks, seen)
            asked_at = path
        else:
            _check_answers(pending, asked_at, blocks)
            pending = []
    _refuse_unanswered(pending, asked_at)


def _turns(messages: Sequence[Message]) -> Iterator[tuple[str, str, list[_Placed]]]:
    role, path, blocks = "", "", list[_Placed]()
    for at, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role != role and role:
            yield role, path, blocks
            blocks = []
        if message.role != role:
            role, path = message.role, f"messages.{at}"
        if not isinstance(message.content, str):
            blocks.extend([(f"messages.{at}.content.{nth}", block) for nth, block in enumerate(message.content)])
        elif message.content:
            blocks.append((f"messages.{at}", _WORDS))
    if role:
        yield role, path, blocks


def _call_ids(blocks: Sequence[_Placed], seen: set[str]) -> list[str]:
    ids: list[str] = []
    for path, block in blocks:
        if block.type == "tool_result":
            raise InvalidRequest(f"{path}: `tool_result` blocks can only be in `user` messages")
        if block.type == "tool_use":
            call = _id(block, "id", path)
            if call in seen:
                raise InvalidRequest(f"{path}: `tool_use` ids must be unique")
            seen.add(call)
            ids.append(call)
    return ids


def _check_answers(pending: Sequence[str], asked_at: str, blocks: Sequence[_Placed]) -> None:
    """Results come first; whatever stands before a result separates it from its call."""
    answered: set[str] = set()
    expected = frozenset(pending)
    leading = True
    for path, block in blocks:
        if block.type == "tool_use":
            raise InvalidRequest(f"{path}: `tool_use` blocks can only be in `assistant` messages")
        if block.type != "tool_result":
            leading = False
            continue
        call = _id(block, "tool_use_id", path)
        if call not in expected:
            raise InvalidRequest(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message."
            )
        if call in answered:
            raise InvalidRequest(
                f"{path}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {call}"
            )
        if leading:
            answered.add(call)
    _refuse_unanswered([call for call in pending if call not in answered], asked_at)


def _refuse_unanswered(calls: Sequence[str], path: str) -> None:
    if calls:
        raise InvalidRequest(
            f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )


def _id(block: Block, name: str, path: str) -> str:
    value = block.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{path}.{block.type}.{name}: Field required")
    return value
