"""What a request says about reasoning, and the fields in which one dialect is asked for it.

Pure functions: an intent from the request, fields from intent and dialect. Must not know messages or tools.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.messages import jsonbytes
from gateway.messages.request import MessagesRequest
from gateway.providers.chat.dialects import Dialect

__all__ = ["Intent", "asking", "intent_of"]

_BUDGETS: Mapping[str, int] = {"low": 4_096, "medium": 12_288, "high": 24_576, "xhigh": 32_768, "max": 49_152}
_LEAST_BUDGET = 1_024
_DEFAULT_EFFORT = "medium"


@dataclass(frozen=True, slots=True)
class Intent:
    """`mode`: reasoning wanted, not wanted, or not spoken of. `effort` and `budget` (tokens) as far as said.
    `omitted`: the client wants the blocks without their text."""

    mode: Literal["on", "off", "unsaid"] = "unsaid"
    effort: str | None = None
    budget: int | None = None
    omitted: bool = False


def intent_of(request: MessagesRequest) -> Intent:
    """The intent of a request. An effort set by a later system entry stands over the request's own."""
    thinking = request.get("thinking")
    thinking = thinking if isinstance(thinking, dict) else {}
    kind = thinking.get("type")
    mode: Literal["on", "off", "unsaid"] = "unsaid"
    if isinstance(kind, str):
        mode = "off" if kind == "disabled" else "on"
    budget = thinking.get("budget_tokens")
    sized = budget if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0 else None
    return Intent(mode, _effort(request), sized, thinking.get("display") == "omitted")


def _effort(request: MessagesRequest) -> str | None:
    configs = [request.get("output_config")]
    for message in request.messages:
        if message.role == "system" and "output_config" in message.extra:
            configs.append(jsonbytes.decode_any(message.extra["output_config"]))
    efforts = [config.get("effort") for config in configs if isinstance(config, dict)]
    said = [effort for effort in efforts if isinstance(effort, str)]
    return said[-1] if said else None


def asking(intent: Intent, dialect: Dialect, max_tokens: int) -> dict[str, Any]:
    """The body's fields for this intent; {} where the dialect has none. `max_tokens` bounds a budget."""
    fields: dict[str, Any] = {}
    for ask in dialect.asks:
        fields |= _ASKS[ask](intent, dialect, max_tokens)
    return fields


def _level(intent: Intent) -> str | None:
    """The effort said or implied by a budget; None when neither was."""
    if intent.effort is not None:
        return intent.effort if intent.effort in _BUDGETS else "high"
    if intent.budget is None:
        return None
    return next((level for level, tokens in _BUDGETS.items() if intent.budget <= tokens), "max")


def _effort_word(intent: Intent, dialect: Dialect) -> str | None:
    if intent.mode == "off":
        return dialect.effort_off
    level = _level(intent)
    return None if level is None else dialect.efforts.get(level, "high")


def _by_effort(intent: Intent, dialect: Dialect, _: int) -> dict[str, Any]:
    word = _effort_word(intent, dialect)
    return {} if word is None else {"reasoning_effort": word}


def _by_switch(intent: Intent, _: Dialect, __: int) -> dict[str, Any]:
    if intent.mode == "unsaid":
        return {}
    return {"thinking": {"type": "enabled" if intent.mode == "on" else "disabled"}}


def _by_template(intent: Intent, dialect: Dialect, _: int) -> dict[str, Any]:
    if intent.mode == "unsaid":
        return {}
    arguments: dict[str, Any] = {"enable_thinking": intent.mode == "on"}
    word = _effort_word(intent, dialect)
    if word is not None:
        arguments["reasoning_effort"] = word
    return {"chat_template_kwargs": arguments}


def _by_budget(intent: Intent, _: Dialect, max_tokens: int) -> dict[str, Any]:
    if intent.mode != "on":
        return {}
    budget = intent.budget or _BUDGETS[_level(intent) or _DEFAULT_EFFORT]
    budget = min(budget, max_tokens - _LEAST_BUDGET)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget >= _LEAST_BUDGET else {}


def _by_adaptive(intent: Intent, _: Dialect, __: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"thinking": {"type": "adaptive"}} if intent.mode == "on" else {}
    level = _level(intent)
    return fields if level is None else {**fields, "output_config": {"effort": level}}


def _by_reasoning(intent: Intent, dialect: Dialect, _: int) -> dict[str, Any]:
    if intent.mode == "off":
        return {"reasoning": {"enabled": False}}
    if intent.budget is not None and intent.effort is None:
        return {"reasoning": {"max_tokens": intent.budget}}
    word = _effort_word(intent, dialect)
    if word is not None:
        return {"reasoning": {"effort": word}}
    return {"reasoning": {"enabled": True}} if intent.mode == "on" else {}


_ASKS: Mapping[str, Callable[[Intent, Dialect, int], dict[str, Any]]] = {
    "effort": _by_effort,
    "switch": _by_switch,
    "template": _by_template,
    "budget": _by_budget,
    "adaptive": _by_adaptive,
    "reasoning": _by_reasoning,
}
