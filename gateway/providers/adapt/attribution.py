"""Leaves out the client's billing line.

Claude Code puts it first in the system prompt as a block of its own. Anthropic takes it out again; to any other
model it is noise, and in older clients it differs from request to request, which empties every prefix cache.
"""

from dataclasses import replace

from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.draft import Draft

__all__ = ["MARK", "without_attribution"]

MARK = "x-anthropic-billing-header:"


def without_attribution(draft: Draft, capabilities: Capabilities) -> Draft:
    """Drops leading system blocks that begin with the mark; a system prompt given as one string is the
    user's own text and stays."""
    system = draft.system
    if capabilities.has("attribution") or not isinstance(system, tuple):
        return draft
    first = 0
    while first < len(system) and str(system[first].get("text", "")).startswith(MARK):
        first += 1
    return replace(draft, system=system[first:] or None) if first else draft
