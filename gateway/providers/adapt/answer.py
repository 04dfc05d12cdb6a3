"""Puts into the answer what the client would have heard from an upstream that had done it all itself."""

from collections.abc import AsyncIterator

from gateway.messages.events import MESSAGE_DELTA, Event
from gateway.providers.adapt.pipeline import Adapted

__all__ = ["answered"]


async def answered(events: AsyncIterator[Event], adapted: Adapted) -> AsyncIterator[Event]:
    """The same events; the `message_delta` that ends the answer reports the applied context edits (an empty
    list when the client asked for edits and none was due). What the upstream reports itself stands."""
    async for event in events:
        if adapted.edited and _ends(event) and event.data.get("context_management") is None:
            yield Event(
                event.name, {**event.data, "context_management": {"applied_edits": list(adapted.applied_edits)}}
            )
        else:
            yield event


def _ends(event: Event) -> bool:
    return event.name == MESSAGE_DELTA and (event.data.get("delta") or {}).get("stop_reason") is not None
