"""What a client may see, whatever stands behind the gateway: a right answer, or an error in the API's own words.

Reads bytes on its own and strictly; of the gateway it knows only the order of events (`Grammar`).
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from gateway.messages.events import Event
from gateway.messages.grammar import Grammar

__all__ = ["check_answer", "check_envelope", "events_of"]

Json = dict[str, Any]

HEADERS = frozenset(
    {
        *("date", "server", "content-type", "content-length", "transfer-encoding", "connection", "cache-control"),
        *("x-accel-buffering", "request-id", "x-bulkhead-session", "x-bulkhead-cache", "retry-after"),
        *("x-should-retry", "x-bulkhead-cache-reason"),
    }
)
"""All that an answer has; of the upstream's own, nothing but a word on retries."""


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def parsed(text: bytes) -> Json:
    found = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    assert isinstance(found, dict), found
    return found


def check_answer(
    status: int, headers: httpx.Headers, body: bytes, *, stream: bool, model: str, hidden: list[str]
) -> str:
    """`error`, `message` or the name of the stream's last event. `hidden`: what no error may tell."""
    named = [name for name in headers if name not in HEADERS and not name.startswith("anthropic-")]
    assert not named, f"headers that no client should see: {named}"
    assert "upstream" not in str(headers.get("server")), headers
    request_id = headers["request-id"]
    assert request_id.startswith("req_") and "upstream" not in request_id
    assert status not in (401, 403), "the client would blame its own key"
    if status != 200:
        assert headers["content-type"] == "application/json"
        assert 400 <= status < 600, status
        check_envelope(parsed(body), request_id, hidden)
        return "error"
    if not stream:
        whole = parsed(body)
        if whole.get("type") == "error":
            check_envelope(whole, request_id, hidden)
            return "error"
        check_message(whole, model)
        return "message"
    assert headers["content-type"].startswith("text/event-stream")
    return check_stream(body, request_id, model, hidden)


def check_envelope(envelope: Json, request_id: str, hidden: list[str]) -> None:
    assert envelope["type"] == "error" and envelope["request_id"] == request_id, envelope
    error = envelope["error"]
    assert isinstance(error["type"], str) and isinstance(error["message"], str) and error["message"], envelope
    told = json.dumps(envelope)
    assert not [secret for secret in hidden if secret in told], told


def check_message(message: Json, model: str) -> None:
    assert message["type"] == "message", message
    assert message["model"] == model, message
    assert all(isinstance(block["type"], str) for block in message["content"]), message


def check_stream(body: bytes, request_id: str, model: str, hidden: list[str]) -> str:
    grammar, last = Grammar(), ""
    for name, data in events_of(body):
        assert last not in ("message_stop", "error"), f"{name} after {last}"
        grammar.check(Event(name, data))
        if name == "message_start":
            assert data["message"]["model"] == model, data
            assert data["message"].get("content") == [], data
        if name == "error":
            check_envelope(data, request_id, hidden)
        last = name
    assert last in ("message_stop", "error"), f"the stream ends with {last!r}"
    return last


def events_of(body: bytes) -> list[tuple[str, Json]]:
    """The events of a stream in the spelling of the vendor, comments left out; any other spelling fails."""
    *complete, rest = body.decode("utf-8").split("\n\n")
    assert rest == "", f"half an event: {rest!r}"
    found = []
    for part in complete:
        lines = [line for line in part.split("\n") if not line.startswith(":")]
        if not any(lines):
            continue
        assert len(lines) == 2 and lines[0].startswith("event: ") and lines[1].startswith("data: "), part
        data = parsed(lines[1].removeprefix("data: ").encode())
        assert data["type"] == lines[0].removeprefix("event: "), part
        found.append((data["type"], data))
    return found
