"""Turns a request of the newest Messages API into one that an upstream understands.

One table of steps, each a pure function of a draft and the upstream's capabilities; their order is part of the
design and said beside each. Knows the Messages API on both sides; other APIs are the business of their
translators, which begin with what comes out here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.messages.jsonbytes import Raw, encode
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt.attribution import without_attribution
from gateway.providers.adapt.caching import with_cache_marks
from gateway.providers.adapt.capabilities import Capabilities
from gateway.providers.adapt.compaction import compacted
from gateway.providers.adapt.context_edits import with_context_edits
from gateway.providers.adapt.deferred import with_deferred_tools
from gateway.providers.adapt.draft import Draft
from gateway.providers.adapt.empty_text import without_empty_text
from gateway.providers.adapt.fields import sent_headers, with_known_fields
from gateway.providers.adapt.folding import folded
from gateway.providers.adapt.reasoning import with_own_thinking
from gateway.providers.adapt.refusals import refused
from gateway.providers.adapt.system_entries import with_system_entries_told
from gateway.providers.adapt.tool_list import with_known_tools, with_plain_fields
from gateway.providers.adapt.ways_to_think import with_output_limit, with_thinking
from gateway.providers.base import UpstreamRequest

__all__ = ["STEPS", "Adapted", "adapt"]

STEPS: tuple[Callable[[Draft, Capabilities], Draft], ...] = (
    refused,  # first: its messages name the places as the client numbered them
    without_attribution,
    compacted,  # before all that reads the conversation: what was summed up is not part of it
    with_deferred_tools,  # before results are cleared: a cleared reference must not unload its tool
    with_context_edits,
    with_own_thinking,
    with_known_tools,
    folded,
    without_empty_text,
    with_system_entries_told,  # before thinking: an entry may set the effort
    with_output_limit,
    with_thinking,
    with_cache_marks,
    with_plain_fields,
    with_known_fields,  # last: drops the fields that the others read
)
"""What is done to a request, in this order."""


@dataclass(frozen=True)
class Adapted:
    """A request for one upstream."""

    request: MessagesRequest
    """Reduced, its `model` the upstream's name; `max_tokens` is 0 where a counting body has none."""
    headers: dict[str, str]
    """The `FORWARDED_HEADERS` to send, lower-case."""
    applied_edits: list[dict[str, Any]] = field(default_factory=list)
    """What the gateway's own context editing did, as the API reports it."""
    edited: bool = False
    """Whether the gateway edits the context in the upstream's place, so that the answer must say so."""
    body: bytes = b""
    """The encoded request: the client's very bytes where nothing was changed."""


def adapt(request: UpstreamRequest, capabilities: Capabilities, *, upstream: str) -> Adapted:
    """The request as far as the upstream can take it. `upstream` is the gateway's name of the upstream.

    Raises `InvalidRequest` (400) for what cannot be left out without changing the question, and only that.
    Applying it to its own result changes nothing. Works on `count_tokens` bodies too.
    """
    parsed = MessagesRequest.parse(request.body, counting=True)
    draft = Draft.of(parsed, request.headers, model=request.model, upstream=upstream)
    for step in STEPS:
        draft = step(draft, capabilities)
    fields = draft.body()
    if draft.model != parsed.model:
        fields["model"] = Raw(encode(draft.model))
    same = fields == parsed.fields
    return Adapted(
        request=parsed if same else draft.request(fields),
        headers=sent_headers(draft.version, draft.betas, capabilities),
        applied_edits=list(draft.edits),
        edited=draft.edited,
        body=request.body if same else encode(fields),
    )
