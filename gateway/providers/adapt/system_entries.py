"""Carries `role: system` messages to upstreams that know a system prompt only before the conversation.

They become tagged user texts where they stood. Moving them up into the system prompt would empty the prefix cache
at every turn; a user text in front of tool results would part the results from their calls.
"""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.messages import jsonbytes
from gateway.messages.blocks import Block, Message
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft

__all__ = ["with_system_entries_told"]

_OPEN, _CLOSE = "<system-reminder>", "</system-reminder>"
"""The tag in which Claude Code itself words such texts for models without system messages, and which its system
prompt explains."""


def with_system_entries_told(draft: Draft, capabilities: Capabilities) -> Draft:
    """Without system messages; their `output_config.effort` becomes the request's, the last one wins.

    An entry with `clear_at: next_user_message` ends at the next user message that says something of its own
    (tool results alone are part of the turn that is going on).
    """
    messages = draft.messages
    if capabilities.has("system_messages") or not any(message.role == "system" for message in messages):
        return draft
    spoken_at = max((at for at, message in enumerate(messages) if _spoken(message)), default=-1)
    kept = [
        message
        for at, message in enumerate(messages)
        if message.role != "system" or not (_passing(message) and at < spoken_at)
    ]
    effort = next((found for message in reversed(kept) if (found := _effort(message)) is not None), None)
    changed = replace(draft, messages=tuple(_told(kept)))
    if effort is None:
        return changed
    config = draft.value("output_config")
    return changed.with_field("output_config", {**(config if isinstance(config, dict) else {}), "effort": effort})


def _spoken(message: Message) -> bool:
    return message.role == "user" and any(block.type != "tool_result" for block in message.blocks)


def _passing(message: Message) -> bool:
    return bool(_extra(message, "clear_at") == "next_user_message")


def _effort(message: Message) -> str | None:
    if message.role != "system":
        return None
    config = _extra(message, "output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    return effort if isinstance(effort, str) else None


def _extra(message: Message, name: str) -> Any:
    raw = message.extra.get(name)
    try:
        return None if raw is None else jsonbytes.decode_any(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _told(messages: list[Message]) -> list[Message]:
    """System entries as user messages, each behind the last tool results of the turn it stands in."""
    results_follow = _results_follow(messages)
    told: list[Message] = []
    waiting: list[Message] = []
    for at, message in enumerate(messages):
        if message.role != "system":
            told.append(message)
        elif blocks := [_tagged(block) for block in message.blocks if _has_text(block)]:
            waiting.append(Message("user", blocks))
        if waiting and not results_follow[at]:
            told.extend(waiting)
            waiting = []
    return told


def _results_follow(messages: list[Message]) -> list[bool]:
    """For each message, whether tool results come after it in the same turn."""
    follow: list[bool] = []
    coming = False
    for message in reversed(messages):
        follow.append(coming)
        if message.role == "assistant":
            coming = False
        elif message.role == "user" and any(block.type == "tool_result" for block in message.blocks):
            coming = True
    return follow[::-1]


def _has_text(block: Block) -> bool:
    return block.type == "text" and bool(str(block.get("text", "")).strip())


def _tagged(block: Block) -> Block:
    text = str(block.get("text", ""))
    if text.lstrip().startswith(_OPEN):
        return block
    return block.replace(text=f"{_OPEN}\n{text}\n{_CLOSE}")
