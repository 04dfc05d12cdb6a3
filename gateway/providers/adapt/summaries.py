"""When a conversation is due for a summary, what the model is asked for, and what comes of its answer.

Pure functions around the one model call that `compacting` makes. The rules are those of the `compact_20260112`
edit and of the `compaction` parameter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.messages.blocks import Message
from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt.compaction import from_last_summary, summary_message

__all__ = ["DEFAULT_TRIGGER", "MIN_TRIGGER", "Compaction", "compaction_block", "continued", "due", "summarising"]

MIN_TRIGGER = 50_000
DEFAULT_TRIGGER = 150_000
"""Input tokens at which a summary is made."""

_EDIT = "compact_20260112"
_INSTRUCTIONS = (
    "Your context is nearly full. Write a summary from which you yourself can go on with this task and nothing "
    "else: what the user wants, in their words where it matters; what was decided and why; what was done, with the "
    "names of files, functions, commands and their outcome; what is not done yet and what comes next. Do not "
    "call tools and do not go on with the task. Put the summary between <summary> and </summary>."
)


@dataclass(frozen=True, slots=True)
class Compaction:
    """A summary that is due. `pause`: the answer ends after it (stop reason `compaction`)."""

    instructions: str = _INSTRUCTIONS
    pause: bool = False


def due(request: MessagesRequest, size: Callable[[MessagesRequest], int]) -> Compaction | None:
    """Whether the client asked for a summary and it is time for one. `size` counts input tokens and is called
    only when a limit must be measured. Raises `InvalidRequest` for a trigger below `MIN_TRIGGER`."""
    asked = request.get("compaction")
    if isinstance(asked, dict) and asked.get("type") == "summarize":
        return Compaction(_text(asked.get("instructions")), pause=True)
    managed = request.get("context_management")
    edits = managed.get("edits") if isinstance(managed, dict) else None
    for at, edit in enumerate(edits if isinstance(edits, list) else ()):
        if isinstance(edit, dict) and edit.get("type") == _EDIT:
            limit = _limit(edit.get("trigger"), f"context_management.edits.{at}.trigger")
            if size(_reduced(request)) < limit:
                return None
            return Compaction(_text(edit.get("instructions")), pause=edit.get("pause_after_compaction") is True)
    return None


def summarising(request: MessagesRequest, compaction: Compaction) -> bytes:
    """The body that asks the same model for the summary: the same system prompt, tools and messages, so that
    the upstream's prefix cache serves them, and one more user message."""
    messages = [*from_last_summary(tuple(request.messages)), Message("user", compaction.instructions)]
    fields: dict[str, object] = {"messages": messages, "stream": True}
    if request.tools:
        fields["tool_choice"] = {"type": "none"}
    config = request.get("output_config")
    if isinstance(config, dict) and "format" in config:
        fields["output_config"] = {name: value for name, value in config.items() if name != "format"}
    return request.encode(drop=("compaction", "context_management", "output_format", "stop_sequences"), **fields)


def compaction_block(answer: str) -> dict[str, Any] | None:
    """The block that a summary becomes; None where the model wrote none."""
    _, opened, rest = answer.partition("<summary>")
    text = (rest.rpartition("</summary>")[0] or rest) if opened else answer
    return {"type": "compaction", "content": text.strip()} if text.strip() else None


def continued(request: MessagesRequest, block: Mapping[str, Any] | None) -> bytes:
    """The body that goes on from the summary, or without one if none could be made."""
    drop = ["compaction"]
    fields: dict[str, object] = {}
    managed = request.get("context_management")
    if isinstance(managed, dict) and isinstance(managed.get("edits"), list):
        kept = [edit for edit in managed["edits"] if not (isinstance(edit, dict) and edit.get("type") == _EDIT)]
        if kept:
            fields["context_management"] = {**managed, "edits": kept}
        else:
            drop.append("context_management")
    if block is not None:
        fields["messages"] = [summary_message(str(block["content"]))]
    return request.encode(drop=drop, stream=True, **fields)


def _reduced(request: MessagesRequest) -> MessagesRequest:
    """What would be sent: messages that an earlier summary stands for do not count."""
    messages = tuple(request.messages)
    reduced = from_last_summary(messages)
    if reduced is messages:
        return request
    return MessagesRequest.parse(request.encode(messages=list(reduced)), counting=True)


def _limit(trigger: Any, path: str) -> int:
    if trigger is None:
        return DEFAULT_TRIGGER
    if not isinstance(trigger, dict) or trigger.get("type") != "input_tokens":
        raise InvalidRequest(f"{path}.type: Input should be 'input_tokens'")
    value = trigger.get("value")
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{path}.value: Input should be a valid integer")
    if value < MIN_TRIGGER:
        raise InvalidRequest(f"{path}.value: Input should be greater than or equal to {MIN_TRIGGER}")
    return value


def _text(instructions: Any) -> str:
    return instructions if isinstance(instructions, str) and instructions.strip() else _INSTRUCTIONS
