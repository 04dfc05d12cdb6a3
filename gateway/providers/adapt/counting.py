"""Counts the input tokens of a request whose context edits the gateway applies: what is left of it, and what it was."""

from gateway.messages.request import MessagesRequest
from gateway.providers.adapt.capabilities import CHAT
from gateway.providers.adapt.context_edits import with_context_edits
from gateway.providers.adapt.draft import Draft
from gateway.providers.estimate import estimate_tokens

__all__ = ["estimate_edited"]


def estimate_edited(request: MessagesRequest) -> tuple[int, int | None]:
    """Estimated input tokens of a `count_tokens` body after its context edits, and without them; None where it asks
    for no edits. Raises `InvalidRequest` for faulty ones."""
    whole = estimate_tokens(request)
    draft = Draft.of(request, {}, model="", upstream="")
    edited = with_context_edits(draft, CHAT)
    if not edited.edited:
        return whole, None
    if edited.messages is draft.messages:
        return whole, whole
    return estimate_tokens(edited.request(edited.body(encoded=False))), whole
