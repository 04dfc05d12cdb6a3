"""Rules to decisions: pure functions from facts to a `Decision` with a stable reason code.

Knows nothing of HTTP, sandboxes or the model; callers act on what it returns.
"""

from gateway.policy.decision import Decision, Outcome
from gateway.policy.dispositions import (
    Disposition,
    disposition_of,
    is_shared,
    local_effect_properties,
    sanitised_schema,
)

__all__ = [
    "Decision",
    "Disposition",
    "Outcome",
    "disposition_of",
    "is_shared",
    "local_effect_properties",
    "sanitised_schema",
]
