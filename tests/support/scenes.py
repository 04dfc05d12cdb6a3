"""Scenarios in few words: a conversation is told apart by the prompt that begins it."""

from __future__ import annotations

import re
from typing import Any

from tests.support.scripts import bash, call, calls, says

__all__ = ["bash", "call", "calls", "fails", "says", "scene"]

Json = dict[str, Any]


def scene(prompt: str, *turns: Json) -> Json:
    """What the model answers, turn after turn, to a prompt; the prompt is the conversation's name too."""
    return {"name": prompt, "match": {"user": f"/^{re.escape(prompt)}$/"}, "turns": list(turns)}


def fails(**fault: Any) -> Json:
    """An answer that goes wrong."""
    return says("These words come in several pieces.", fault=fault)
