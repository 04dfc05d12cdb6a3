"""Scenarios in few words: a conversation is told apart by the prompt that begins it."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]


def scene(prompt: str, *turns: Json) -> Json:
    """What the model answers, turn after turn, to a prompt; the prompt is the conversation's name too."""
    return {"name": prompt, "match": {"user": f"/^{re.escape(prompt)}$/"}, "turns": list(turns)}


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


def fails(**fault: Any) -> Json:
    """An answer that goes wrong."""
    return {"text": "These words come in several pieces.", "fault": fault}
