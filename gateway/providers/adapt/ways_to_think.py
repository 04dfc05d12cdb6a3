"""Asks for thinking in the words the model behind the upstream knows.

Clients choose between a manual budget and adaptive thinking by the name of the model they believe to talk to;
behind an alias that is another model. The table of what each takes is in `capabilities`.
"""

from collections.abc import Mapping
from typing import Any

from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft
from gateway.providers.adapt.reasoning import open_turn_lacks_thinking

__all__ = ["BUDGETS", "MIN_BUDGET", "with_output_limit", "with_thinking"]

BUDGETS: Mapping[str, int] = {"low": 2048, "medium": 8192, "high": 16384, "xhigh": 32000, "max": 32000}
"""Tokens of thinking that stand for each effort where only a budget is known."""

MIN_BUDGET = 1024
"""The smallest budget the API takes."""

_STAND_INS: Mapping[str, tuple[str, ...]] = {
    "adaptive": ("enabled",),
    "between_tools": ("adaptive", "enabled"),
    "enabled": ("adaptive",),
}
"""What comes nearest to a way of thinking that a model does not know. Without one the field is left out."""


def with_output_limit(draft: Draft, capabilities: Capabilities) -> Draft:
    """`max_tokens` within the upstream's bound, and a thinking budget below it."""
    limit, asked = capabilities.max_tokens, draft.value("max_tokens")
    if limit is None or not isinstance(asked, int) or asked <= limit:
        return draft
    clamped = draft.with_field("max_tokens", limit)
    thinking = draft.value("thinking")
    if isinstance(thinking, dict) and isinstance(thinking.get("budget_tokens"), int):
        return _without_excess(clamped, thinking, limit)
    return clamped


def with_thinking(draft: Draft, capabilities: Capabilities) -> Draft:
    """`thinking` of a type that the model takes, or none, and no effort where the model knows none."""
    rule = capabilities.thinking_rule(draft.model)
    thinking = draft.value("thinking")
    kind = _type(draft)
    if rule is not None and kind is not None and kind not in rule.types:
        draft = _with_stand_in(draft, thinking, next((to for to in _STAND_INS.get(kind, ()) if to in rule.types), None))
    if draft.lost_thinking and _type(draft) == "enabled" and open_turn_lacks_thinking(draft.messages):
        draft = _without_thinking(draft)
    config = draft.value("output_config")
    if rule is not None and not rule.effort and isinstance(config, dict) and "effort" in config:
        rest = {name: value for name, value in config.items() if name != "effort"}
        draft = draft.with_field("output_config", rest) if rest else draft.without("output_config")
    return draft


def _type(draft: Draft) -> str | None:
    thinking = draft.value("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return kind if isinstance(kind, str) else None


def _with_stand_in(draft: Draft, thinking: dict[str, Any], kind: str | None) -> Draft:
    display = {"display": thinking["display"]} if thinking.get("display") in ("omitted", "summarized") else {}
    if kind == "adaptive":
        return draft.with_field("thinking", {"type": "adaptive", **display})
    forced = draft.value("tool_choice")
    if kind is None or (isinstance(forced, dict) and forced.get("type") in ("any", "tool")):
        return _without_thinking(draft)
    if open_turn_lacks_thinking(draft.messages):
        return _without_thinking(draft)
    config = draft.value("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    budget = BUDGETS.get(effort if isinstance(effort, str) else "high", BUDGETS["high"])
    enabled = {"type": "enabled", "budget_tokens": budget, **display}
    limit = draft.value("max_tokens")
    if isinstance(limit, int):
        return _without_excess(draft, enabled, limit)
    return draft.with_field("thinking", enabled)


def _without_excess(draft: Draft, thinking: dict[str, Any], limit: int) -> Draft:
    """The budget must stay below `max_tokens`; half of it is left for the answer where it would not."""
    budget = thinking["budget_tokens"]
    if budget >= limit:
        budget = limit // 2
    if budget < MIN_BUDGET:
        return _without_thinking(draft)
    return draft.with_field("thinking", {**thinking, "budget_tokens": budget})


def _without_thinking(draft: Draft) -> Draft:
    """No thinking, and no edit of thinking: the API refuses the one without the other."""
    bare = draft.without("thinking")
    managed = draft.value("context_management")
    edits = managed.get("edits") if isinstance(managed, dict) else None
    if not isinstance(edits, list):
        return bare
    kept = [edit for edit in edits if not _clears_thinking(edit)]
    if len(kept) == len(edits):
        return bare
    if not kept:
        return bare.without("context_management")
    return bare.with_field("context_management", {**managed, "edits": kept})


def _clears_thinking(edit: object) -> bool:
    return isinstance(edit, dict) and str(edit.get("type", "")).startswith("clear_thinking_")
