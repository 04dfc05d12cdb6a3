"""The tools of a request as chat functions: which are offered, in what form, and which must be called.

Order and wording stay the client's, so that the server's prefix cache holds. Knows declarations and dialects; must
not know messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.messages.blocks import Tool
from gateway.messages.request import MessagesRequest
from gateway.providers.chat.dialects import Dialect
from gateway.providers.chat.identity import Names
from gateway.providers.chat.schemas import client_tool

__all__ = ["Function", "Offer", "functions_of", "offer"]

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value maps free names to schemas."""


@dataclass(frozen=True, slots=True)
class Function:
    """One callable tool: the client's name, what the model is told of it, its parameters' JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """The tool fields of a chat body. `manual` continues descriptions that were too long for the server;
    `one_call`: the client takes a single call, and the answer is cut after it."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    manual: str = ""
    one_call: bool = False


def functions_of(request: MessagesRequest) -> list[Function]:
    """Every function of the request. Tools that only the API itself can run are left out, and deferred ones:
    those that the conversation has loaded are deferred no more (`gateway.providers.adapt`)."""
    loaded = (tool for tool in request.tools if tool.get("defer_loading") is not True)
    found = (_function(tool) for tool in loaded)
    return [function for function in found if function is not None]


def _function(tool: Tool) -> Function | None:
    described = tool.get("description")
    text = described if isinstance(described, str) else ""
    schema = tool.get("input_schema")
    known = client_tool(tool.type, tool.data)
    if known is not None and tool.name:
        return Function(tool.name, known[0], known[1])
    if tool.name and (tool.type == "custom" or isinstance(schema, dict)):
        return Function(tool.name, text, schema if isinstance(schema, dict) else {})
    return None


def offer(
    functions: Sequence[Function],
    choice: Mapping[str, Any] | None,
    dialect: Dialect,
    names: Names,
    called: Sequence[str] = (),
) -> Offer:
    """The body's tool fields. `called` are the tools that the history has calls of."""
    choice = choice or {}
    kind = choice.get("type")
    one_call = choice.get("disable_parallel_tool_use") is True
    if not functions and called and dialect.declares_called_tools:
        functions = [Function(name, "No longer available.", {}) for name in dict.fromkeys(called)]
        kind, one_call = None, False
    if kind == "none" and dialect.tool_choice == "no":
        functions = []
    if kind == "tool" and dialect.tool_choice != "full":  # the only tool there is, when no tool can be named
        functions = [function for function in functions if function.name == choice.get("name")] or functions
    if not functions:
        return Offer()
    manual: list[str] = []
    fields: dict[str, Any] = {"tools": [_chat_function(one, dialect, names, manual) for one in functions]}
    word = _choice(kind, choice, dialect, names)
    if word is not None:
        fields["tool_choice"] = word
    if dialect.parallel_tool_calls == "always" or (one_call and dialect.parallel_tool_calls == "off"):
        fields["parallel_tool_calls"] = not one_call
    return Offer(fields, "\n\n".join(manual), one_call)


def _choice(kind: object, choice: Mapping[str, Any], dialect: Dialect, names: Names) -> Any:
    if dialect.tool_choice == "no":
        return None
    if kind == "tool" and dialect.tool_choice == "full":
        return {"type": "function", "function": {"name": names.outward(str(choice.get("name")))}}
    return {"auto": "auto", "any": "required", "tool": "required", "none": "none"}.get(str(kind))


def _chat_function(function: Function, dialect: Dialect, names: Names, manual: list[str]) -> dict[str, Any]:
    name = names.outward(function.name)
    described: dict[str, Any] = {"name": name}
    text, limit = function.description, dialect.tool_description_length
    if limit is not None and len(text) > limit:
        note = f" [continued in the system prompt under: Tool {name}]"
        manual.append(f"# Tool {name}\n\n{text}")
        text = text[: limit - len(note)] + note
    if text:
        described["description"] = text
    described["parameters"] = _parameters(function.parameters, dialect.schema_drop)
    return {"type": "function", "function": described}


def _parameters(schema: Mapping[str, Any], drop: frozenset[str]) -> dict[str, Any]:
    """An object schema, its keywords in the client's order."""
    cleaned = _without(schema, drop) if drop else dict(schema)
    if not isinstance(cleaned.get("type"), str):
        cleaned = {**cleaned, "type": "object"}
    if cleaned["type"] == "object" and not isinstance(cleaned.get("properties"), dict):
        cleaned["properties"] = {}
    return cleaned


def _without(schema: Mapping[str, Any], drop: frozenset[str]) -> dict[str, Any]:
    return {key: _cleaned(key, value, drop) for key, value in schema.items() if key not in drop}


def _cleaned(key: str, value: Any, drop: frozenset[str]) -> Any:
    if isinstance(value, dict):
        if key in _MAPS:  # here the keys are the client's names, whatever they are
            return {name: _without(one, drop) if isinstance(one, dict) else one for name, one in value.items()}
        return value if key in ("default", "const", "example") else _without(value, drop)
    if isinstance(value, list) and key not in ("enum", "required", "examples", "default", "const"):
        return [_without(one, drop) if isinstance(one, dict) else one for one in value]
    return value
