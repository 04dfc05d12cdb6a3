"""How long a draft is, in tokens: the house's estimate, applied to a request that is not finished."""

from gateway.messages.blocks import Message
from gateway.providers.adapt.draft import Draft
from gateway.providers.estimate import estimate_tokens

__all__ = ["Sizes"]


class Sizes:
    """Input tokens of the drafts of one request, estimated; each conversation is measured once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[Message, ...], int]] = {}

    def of(self, draft: Draft) -> int:
        """Nothing but the messages may differ between the drafts asked about."""
        known = self._known.get(id(draft.messages))
        if known is None:
            known = draft.messages, estimate_tokens(draft.request(draft.body(encoded=False)))
            self._known[id(draft.messages)] = known
        return known[1]
