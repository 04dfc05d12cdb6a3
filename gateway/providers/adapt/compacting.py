"""Makes the summary that the Messages API would have made, for upstreams that cannot.

One more model call before the answer. The client sees what the API would show: a `compaction` block first, the
calls listed under `usage.iterations`. Knows providers by their protocol only.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gateway.messages import events
from gateway.messages.assemble import Assembler
from gateway.messages.events import Event
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt.summaries import compaction_block, continued, due, summarising
from gateway.providers.base import Provider, UpstreamFailure, UpstreamRequest, UpstreamStream
from gateway.providers.estimate import estimate_tokens

__all__ = ["with_compaction"]

_MARKS = (b"compact_", b'"compaction"')


@asynccontextmanager
async def with_compaction(
    provider: Provider,
    request: UpstreamRequest,
    *,
    size: Callable[[MessagesRequest], int] = estimate_tokens,
) -> AsyncIterator[UpstreamStream]:
    """`provider.stream(request)`, with a summary first where the request asks for one and it is due.

    For upstreams that lack the feature `compaction`. A summary that fails, or says nothing, is left out and the
    whole conversation is sent. Raises as `Provider.stream`, and `InvalidRequest` for a faulty trigger.
    """
    parsed = MessagesRequest.parse(request.body) if any(mark in request.body for mark in _MARKS) else None
    compaction = due(parsed, size) if parsed is not None else None
    if parsed is None or compaction is None:
        async with provider.stream(request) as stream:
            yield stream
        return
    message = await _summary(provider, replace(request, body=summarising(parsed, compaction)))
    block = compaction_block(_said(message)) if message is not None else None
    if message is not None and block is not None and compaction.pause:
        yield _Paused(message, block)
        return
    async with provider.stream(replace(request, body=continued(parsed, block))) as stream:
        yield stream if message is None or block is None else _Continued(stream, message, block)


async def _summary(provider: Provider, request: UpstreamRequest) -> dict[str, Any] | None:
    """The answer to the request for a summary; None when the upstream failed to give one."""
    assembler = Assembler()
    try:
        async with provider.stream(request) as stream:
            async for event in stream:
                assembler.feed(event)
    except UpstreamFailure:
        return None  # the API's own rule: a failed summary is no failure of the turn
    return assembler.message if assembler.stop_reason != "refusal" else None


def _said(message: Mapping[str, Any]) -> str:
    return "".join(str(block.get("text", "")) for block in message["content"] if block.get("type") == "text")


def _iteration(kind: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, **{name: value for name, value in usage.items() if name != "iterations"}}


class _Paused:
    """An answer that is nothing but the summary."""

    def __init__(self, message: Mapping[str, Any], block: Mapping[str, Any]) -> None:
        self.headers: Mapping[str, str] = {}
        self._message = message
        self._block = block

    async def __aiter__(self) -> AsyncIterator[Event]:
        start = {**self._message, "content": [], "stop_reason": None, "stop_sequence": None}
        yield Event(events.MESSAGE_START, {"type": events.MESSAGE_START, "message": start})
        for event in _shown(self._block):
            yield event
        usage = {
            "input_tokens": 0,
            "output_tokens": 0,
            "iterations": [_iteration("compaction", self._message["usage"])],
        }
        delta = {"stop_reason": "compaction", "stop_sequence": None}
        yield Event(events.MESSAGE_DELTA, {"type": events.MESSAGE_DELTA, "delta": delta, "usage": usage})
        yield Event(events.MESSAGE_STOP, {"type": events.MESSAGE_STOP})


class _Continued:
    """An answer with the summary before it."""

    def __init__(self, stream: UpstreamStream, message: Mapping[str, Any], block: Mapping[str, Any]) -> None:
        self._stream = stream
        self._message = message
        self._block = block

    @property
    def headers(self) -> Mapping[str, str]:
        return self._stream.headers

    async def __aiter__(self) -> AsyncIterator[Event]:
        usage: dict[str, Any] = {}
        async for event in self._stream:
            if event.name == events.MESSAGE_START:
                usage.update(event.data["message"].get("usage") or {})
                yield event
                for shown in _shown(self._block):
                    yield shown
            elif event.name == events.MESSAGE_DELTA:
                usage.update(event.data.get("usage") or {})
                yield Event(event.name, {**event.data, "usage": self._counted(event.data.get("usage"), usage)})
            elif "index" in event.data:
                yield Event(event.name, {**event.data, "index": event.data["index"] + 1})
            else:
                yield event

    def _counted(self, told: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> dict[str, Any]:
        own = (told or {}).get("iterations") or [_iteration("message", usage)]
        return {**(told or {}), "iterations": [_iteration("compaction", self._message["usage"]), *own]}


def _shown(block: Mapping[str, Any]) -> list[Event]:
    """The summary as the API streams it: one block, its content in one delta."""
    start = {"type": events.CONTENT_BLOCK_START, "index": 0, "content_block": {**block, "content": ""}}
    delta = {"type": "compaction_delta", "content": block["content"]}
    return [
        Event(events.CONTENT_BLOCK_START, start),
        Event(events.CONTENT_BLOCK_DELTA, {"type": events.CONTENT_BLOCK_DELTA, "index": 0, "delta": delta}),
        Event(events.CONTENT_BLOCK_STOP, {"type": events.CONTENT_BLOCK_STOP, "index": 0}),
    ]
