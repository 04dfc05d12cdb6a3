"""A decision is a value: what was decided, why, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is a stable code for audit and tests; `explanation` is for the model and the person."""

    outcome: Outcome
    reason: str
    explanation: str = ""

    @property
    def allowed(self) -> bool:
        return self.outcome is Outcome.ALLOW
