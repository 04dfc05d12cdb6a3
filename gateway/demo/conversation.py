"""The client's side: one streamed request, and the sandboxed calls read back out of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway import __version__
from gateway.demo.failure import DemoFailed
from gateway.messages.assemble import Assembler
from gateway.messages.events import ERROR, Event
from gateway.messages.grammar import StreamBroken
from gateway.messages.sse_reader import read_events

SESSION = "demo"
"""The client's name for its session."""

SILENCE_SECONDS = 120.0
"""Longest silence of the gateway; it sends a sign of life every 25 seconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the gateway ran, as its answer records it. `code` is the exit code of a command."""

    name: str
    arguments: dict[str, Any]
    text: str
    code: int
    failed: bool


@dataclass(slots=True)
class Answer:
    """What came back. `body` holds every byte of it; `stop_reason` is None when it did not end well."""

    calls: list[Call] = field(default_factory=list)
    stop_reason: str | None = None
    body: bytearray = field(default_factory=bytearray)


async def converse(url: str, key: str, request: dict[str, Any], answer: Answer, show: Callable[[Event], None]) -> None:
    """Send the request, `show` each event as it comes and fill `answer`, as far as it gets.

    Raises `DemoFailed` when the turn does not end as a turn ends.
    """
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "x-bulkhead-session": SESSION}
    headers["user-agent"] = f"bulkhead-demo/{__version__}"
    assembler = Assembler()
    timeout = httpx.Timeout(10.0, read=SILENCE_SECONDS)
    try:
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=timeout) as client,
            client.stream("POST", "/v1/messages", json=request, headers=headers) as response,
        ):
            if response.status_code != 200:
                text = (await response.aread()).decode("utf-8", "replace")
                raise DemoFailed(f"The gateway answered {response.status_code}: {text}")
            async for event in read_events(_kept(response.aiter_bytes(), answer.body)):
                assembler.feed(event)
                show(event)
                if event.name == ERROR:
                    raise DemoFailed(f"The turn failed: {event.data['error'].get('message')}")
        answer.stop_reason = assembler.stop_reason
    except (httpx.HTTPError, StreamBroken) as error:
        raise DemoFailed(f"The stream broke: {error or type(error).__name__}") from error
    finally:
        answer.calls = calls_of(assembler.content)


async def close_session(url: str, key: str) -> None:
    """Close the session over the API, as its owner. Raises `DemoFailed`."""
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, headers={"x-api-key": key}, timeout=60) as client:
            listed = (await client.get("/api/sessions")).raise_for_status().json()["data"]
            for session in (one for one in listed if one["closed_at"] is None):
                (await client.delete(f"/api/sessions/{session['id']}")).raise_for_status()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise DemoFailed(f"The session could not be closed: {error}") from error


def calls_of(content: list[dict[str, Any]]) -> list[Call]:
    """The resolved pairs in an answer, in order."""
    uses = {block["id"]: block for block in content if block["type"] == "server_tool_use"}
    calls = []
    for block in content:
        use = uses.get(block.get("tool_use_id"))
        if use is not None:
            result, mark = block["content"], block["gateway"]
            failed = mark.get("error") is True
            calls.append(Call(use["name"], use["input"], result["stdout"], result["return_code"], failed))
    return calls


async def _kept(chunks: AsyncIterator[bytes], body: bytearray) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        body += chunk
        yield chunk
