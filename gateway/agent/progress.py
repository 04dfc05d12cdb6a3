"""What the finished steps of a turn did: enough to go on after a failure without doing it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """One sampled answer whose gateway-run calls all have results."""

    shown: list[Json]
    """The blocks the client was sent for it, in order."""
    assistant: list[Json]
    """The answer as the upstream gets it back."""
    results: list[Json]
    """The `tool_result` blocks that answer it."""
    usage: Json


@dataclass(slots=True)
class Progress:
    """Finished steps, in order. A step is added whole or not at all."""

    steps: list[FinishedStep] = field(default_factory=list)
