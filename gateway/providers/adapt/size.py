"""How long a draft is, in tokens: the house's estimate, applied to a request that is not finished."""

from gateway.messages.request import MessagesRequest
from gateway.providers.adapt.draft import Draft
from gateway.providers.estimate import estimate_tokens

__all__ = ["tokens"]


def tokens(draft: Draft) -> int:
    """Input tokens, estimated."""
    return estimate_tokens(MessagesRequest(draft.body(), counting=True))
