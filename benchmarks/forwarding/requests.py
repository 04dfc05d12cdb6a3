"""The requests that are forwarded: small and large, whole and streamed. Pure data, made once.

The large one has the size and shape of a coding agent's: 24 tools with long descriptions, a system prompt in
marked blocks, some history. None of its tools is one that the gateway would run itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LARGE_BYTES", "MODEL", "Ask", "ask"]

MODEL = "claude-benchmark-1"
"""Known to every server under test."""

LARGE_BYTES = range(60_000, 100_000)

_TOOLS = 24
_MARK = "QUESTION"
_SENTENCE = "Looks up what the application keeps about one of its records, and says when there is none. "

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request with a gap for the number of its question: what comes before the gap and after it."""

    before: bytes
    after: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """A body that was never sent before: no answer of an earlier one can be given again."""
        return b"%b%d%b" % (self.before, next(_numbers), self.after)


def ask(*, large: bool = False, stream: bool = False, mark: str = "", headers: Mapping[str, str] | None = None) -> Ask:
    """`mark` is a word to the upstream (`lean_upstream`) in the question; `headers` go beside the usual ones."""
    request: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 1000,
        "stream": stream,
        "messages": [{"role": "user", "content": f"{mark} Question number {_MARK}."}],
    }
    if large:
        request |= {"system": _system(), "tools": [_tool(number) for number in range(_TOOLS)]}
        request["messages"] = [*_history(), *request["messages"]]
    before, _, after = json.dumps(request, separators=(",", ":")).partition(_MARK)
    return Ask(before.encode(), after.encode(), headers or {})


def _system() -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": "You are the assistant of an application."},
        {"type": "text", "text": _SENTENCE * 110, "cache_control": {"type": "ephemeral"}},
    ]


def _tool(number: int) -> dict[str, Any]:
    properties = {
        f"field_{index}": {"type": kind, "description": _SENTENCE}
        for index, kind in enumerate(("string", "integer", "boolean", "string", "array", "string"))
    }
    properties["field_4"]["items"] = {"type": "string"}  # type: ignore[assignment]
    schema = {"type": "object", "properties": properties, "required": ["field_0"], "additionalProperties": False}
    return {"name": f"application_record_{number}", "description": _SENTENCE * 14, "input_schema": schema}


def _history() -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": "toolu_bench", "name": "application_record_3", "input": {"field_0": "key"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_bench", "content": _SENTENCE * 40}
    return [
        {"role": "user", "content": "What does the record say?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look it up."}, call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": _SENTENCE * 5},
    ]
