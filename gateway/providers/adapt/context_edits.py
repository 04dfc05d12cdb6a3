"""Applies `context_management` where the upstream cannot: old thinking and old tool results leave the request.

Decided from the request alone, so the same conversation is always cut the same way. Summaries (`compact_*` edits)
need a model call and are not made here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.messages.blocks import Block, Message
from gateway.messages.errors import InvalidRequest
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft, map_blocks
from gateway.providers.adapt.folding import foreign
from gateway.providers.adapt.size import Sizes

__all__ = ["CLEARED", "with_context_edits"]

CLEARED = "[An old tool result was removed here to save space.]"
"""What a cleared result says."""

MAX_EDITS = 8
"""Edits in one request; each one goes through the whole conversation."""

_THINKING = frozenset({"redacted_thinking", "thinking"})
_CALLS = frozenset({"mcp_tool_use", "server_tool_use", "tool_use"})
_DEFAULT_TRIGGER = {"type": "input_tokens", "value": 100_000}
_DEFAULT_KEPT_USES = 3
_DEFAULT_KEPT_TURNS = 1


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What edits look things up in."""

    capabilities: Capabilities
    sizes: Sizes


def with_context_edits(draft: Draft, capabilities: Capabilities) -> Draft:
    """The messages after the edits the client asked for; `edits` tells what they did. The field itself is
    stripped with the other fields that the upstream lacks. Unknown edits do nothing."""
    managed = draft.value("context_management")
    if managed is None or capabilities.has("context_management"):
        return draft
    found = managed.get("edits") if isinstance(managed, dict) else None
    edits = found if isinstance(found, list) else []
    if len(edits) > MAX_EDITS:
        raise InvalidRequest(f"context_management.edits: List should have at most {MAX_EDITS} items, not {len(edits)}")
    draft, at_hand = replace(draft, edited=True), _AtHand(capabilities, Sizes())
    for at, edit in enumerate(edits):
        apply = _EDITS.get(edit.get("type")) if isinstance(edit, dict) and isinstance(edit.get("type"), str) else None
        if apply is not None:
            draft = apply(draft, edit, f"context_management.edits.{at}", at_hand)
    return draft


def _clear_thinking(draft: Draft, edit: Mapping[str, Any], path: str, at_hand: _AtHand) -> Draft:
    """Keeps the thinking of the last turns that have any, and always that of the turn that is going on."""
    keep = edit.get("keep")
    if keep == "all" or (isinstance(keep, dict) and keep.get("type") == "all"):
        return draft
    count = _number(keep, "thinking_turns", f"{path}.keep", _DEFAULT_KEPT_TURNS, least=1)
    turns = _turns(draft.messages)
    thoughtful = list(
        dict.fromkeys(
            turn for turn, message in zip(turns, draft.messages, strict=True) if _thinks(message) and turn != turns[-1]
        )
    )
    room = count - any(
        _thinks(message) for turn, message in zip(turns, draft.messages, strict=True) if turn == turns[-1]
    )
    cleared = set(thoughtful[: len(thoughtful) - room] if room > 0 else thoughtful)
    if not cleared:
        return draft
    messages = tuple(
        other
        for turn, message in zip(turns, draft.messages, strict=True)
        for other in (_without_thinking(message) if turn in cleared else (message,))
    )
    return _applied(draft, messages, {"type": edit["type"], "cleared_thinking_turns": len(cleared)}, at_hand)


def _turns(messages: Sequence[Message]) -> list[int]:
    """The number of the turn each message belongs to: one begins where the user speaks without results."""
    turns: list[int] = []
    turn = 0
    for message in messages:
        results = not isinstance(message.content, str) and any(one.type == "tool_result" for one in message.content)
        turn += message.role == "user" and not results
        turns.append(turn)
    return turns


def _thinks(message: Message) -> bool:
    if message.role != "assistant" or isinstance(message.content, str):
        return False
    return any(block.type in _THINKING for block in message.blocks)


def _without_thinking(message: Message) -> tuple[Message, ...]:
    return map_blocks((message,), lambda block: [] if block.type in _THINKING else None, role="assistant")


@dataclass(frozen=True, slots=True)
class _Use:
    id: str
    name: str


def _clear_tool_uses(draft: Draft, edit: Mapping[str, Any], path: str, at_hand: _AtHand) -> Draft:
    """Empties all but the last results (and, if asked, the inputs of their calls) once the trigger is met."""
    uses = _answered_uses(draft.messages, at_hand.capabilities)
    if not _triggered(draft, edit.get("trigger"), len(uses), f"{path}.trigger", at_hand):
        return draft
    excluded = _names(edit.get("exclude_tools"))
    kept = _number(edit.get("keep"), "tool_uses", f"{path}.keep", _DEFAULT_KEPT_USES, least=0)
    candidates = [use for use in uses if use.name not in excluded]
    old = {use.id: use.name for use in candidates[: max(0, len(candidates) - kept)]}
    inputs = edit.get("clear_tool_inputs")
    emptied = {call for call, name in old.items() if inputs is True or name in _names(inputs)}
    cleared: set[str] = set()

    def clear(block: Block) -> list[Block] | None:
        if block.type in _CALLS:
            emptying = str(block.get("id")) in emptied and block.get("input")
            return [block.replace(input={})] if emptying else None
        if not block.type.endswith("tool_result"):
            return None
        if str(block.get("tool_use_id")) in old and block.get("content") != CLEARED:
            cleared.add(str(block.get("tool_use_id")))
            return [block.replace(content=CLEARED)]
        return None

    messages = map_blocks(draft.messages, clear)
    if not cleared:
        return draft
    edited = _applied(draft, messages, {"type": edit["type"], "cleared_tool_uses": len(cleared)}, at_hand)
    least = _number(edit.get("clear_at_least"), "input_tokens", f"{path}.clear_at_least", 0, least=0)
    return edited if edited.edits[-1]["cleared_input_tokens"] >= least else draft


def _answered_uses(messages: Sequence[Message], capabilities: Capabilities) -> list[_Use]:
    """The tool calls that have a result, oldest first: the client's, and those of server tools that will be told as
    text anyway. An upstream's own pairs are sealed: what it would say to an emptied one is not known."""
    names: dict[str, str] = {}
    uses: list[_Use] = []
    for message in messages:
        for block in [] if isinstance(message.content, str) else message.content:
            if block.type in _CALLS:
                names[str(block.get("id"))] = str(block.get("name"))
                continue
            call = str(block.get("tool_use_id"))
            answers = block.type == "tool_result" or (
                block.type.endswith("_tool_result") and foreign(block, capabilities)
            )
            if answers and call in names:
                uses.append(_Use(call, names[call]))
    return uses


def _triggered(draft: Draft, trigger: Any, uses: int, path: str, at_hand: _AtHand) -> bool:
    trigger = _DEFAULT_TRIGGER if trigger is None else trigger
    kind = trigger.get("type") if isinstance(trigger, dict) else None
    if kind == "tool_uses":
        return uses > _number(trigger, "tool_uses", path, 0, least=0)
    limit = _number(trigger, "input_tokens", path, 0, least=0)
    return at_hand.sizes.of(draft) > limit


def _number(value: Any, kind: str, path: str, default: int, *, least: int) -> int:
    """The number in `{"type": kind, "value": n}`."""
    if value is None:
        return default
    if not isinstance(value, dict) or value.get("type") != kind:
        raise InvalidRequest(f"{path}.type: Input should be '{kind}'")
    number = value.get("value")
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidRequest(f"{path}.value: Input should be a valid integer")
    if number < least:
        raise InvalidRequest(f"{path}.value: Input should be greater than or equal to {least}")
    return number


def _names(value: Any) -> frozenset[str]:
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _applied(draft: Draft, messages: tuple[Message, ...], report: dict[str, Any], at_hand: _AtHand) -> Draft:
    edited = replace(draft, messages=messages)
    saved = max(0, at_hand.sizes.of(draft) - at_hand.sizes.of(edited))
    return replace(edited, edits=(*draft.edits, {**report, "cleared_input_tokens": saved}))


_EDITS: Mapping[object, Callable[[Draft, Mapping[str, Any], str, _AtHand], Draft]] = {
    "clear_thinking_20251015": _clear_thinking,
    "clear_tool_uses_20250919": _clear_tool_uses,
}
