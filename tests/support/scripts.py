"""Short names for what scenarios are made of."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def call(tool: str, **arguments: Any) -> Json:
    """A tool call."""
    return {"tool_use": {"name": tool, "input": arguments}}


def bash(command: str, **arguments: Any) -> Json:
    return call("Bash", command=command, **arguments)


def calls(*blocks: Json, **turn: Any) -> Json:
    """An answer that ends with tool calls; the rest are fields of the turn."""
    return {"blocks": list(blocks), **turn}


def says(text: str, **turn: Any) -> Json:
    """An answer in words."""
    return {"text": text, **turn}
