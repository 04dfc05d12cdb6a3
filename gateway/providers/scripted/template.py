"""Fills `${...}` in the texts and inputs of a scenario from the request.

Names it does not know stay as they are: shell commands are full of `${HOME}`.
"""

import re
from typing import Any

from gateway.messages.blocks import Block
from gateway.providers.scripted.conversation import Asked, Place

__all__ = ["fill", "result_text"]

_PLACE = re.compile(r"\$\{(last_tool_result|workdir|user|model|nth_tool_result:-?\d+)\}")


def fill(value: Any, asked: Asked, place: Place) -> Any:
    """The value with every known name replaced, in strings at any depth."""
    if isinstance(value, str):
        return _PLACE.sub(lambda found: _lookup(found[1], asked, place), value)
    if isinstance(value, dict):
        return {name: fill(item, asked, place) for name, item in value.items()}
    if isinstance(value, list):
        return [fill(item, asked, place) for item in value]
    return value


def _lookup(name: str, asked: Asked, place: Place) -> str:
    if name == "workdir":
        return asked.workdir
    if name == "user":
        return place.user
    if name == "model":
        return asked.request.model
    nth = -1 if name == "last_tool_result" else int(name.partition(":")[2])
    at = nth - 1 if nth > 0 else nth
    try:
        return result_text(place.results[at])
    except IndexError:
        return ""


def result_text(result: Block) -> str:
    """The text of a tool result: its string, or its text blocks joined."""
    content = result.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content or [] if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(str(part.get("text", "")) for part in parts)
