"""One fake server: a scenario played in one dialect on one loopback port.

Takes requests as strictly as the real server, finds their place in the scenario, answers on the dialect's wire.
HTTP, scenarios and the record are the scripted upstream's; its state is the record and what it issued.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.messages import events, jsonbytes
from gateway.messages.errors import ApiError
from gateway.messages.events import Event, encode_event
from gateway.messages.replay import message_events
from gateway.messages.request import MessagesRequest
from gateway.providers.scripted import expectation
from gateway.providers.scripted.answer import message_for
from gateway.providers.scripted.conversation import Asked, Place, locate
from gateway.providers.scripted.delivery import Answer, Pause, Step
from gateway.providers.scripted.http import HttpRequest, HttpServer
from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import Fault, Pace, Scenario
from gateway.providers.scripted.strictness import check, signature
from tests.upstreams import strict_chat, strict_messages
from tests.upstreams.chat_reading import as_messages_request, signed_thoughts
from tests.upstreams.chat_spoiling import spoiled
from tests.upstreams.chat_writing import chunks, completion
from tests.upstreams.dialects import Dialect
from tests.upstreams.issued_tokens import Credentials, TokenRefused
from tests.upstreams.server_errors import error_body
from tests.upstreams.wire import Wire, carried

__all__ = ["DialectServer"]

Json = dict[str, Any]

_TOKEN_PATHS = {
    "databricks": r"/oidc/(accounts/[^/]+/)?v1/token",
    "entra": r"/[^/]+/oauth2/v2\.0/token",
}
_FRONT_DOOR = b"<html><head><title>Front door</title></head><body><h1>No service here</h1></body></html>"
_DONE = b"data: [DONE]\n\n"
_PROCESSING = b": OPENROUTER PROCESSING\n\n"
_METRICS = {"inputTokenCount": 12, "outputTokenCount": 34, "invocationLatency": 567, "firstByteLatency": 89}
_WINDOW = 60.0


class _Refused(Exception):
    """An answer that is an error; `violation`: the request was one that this server never takes."""

    def __init__(
        self, status: int, message: str, *, violation: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.violation = violation
        self.headers = headers or {}


class DialectServer:
    """Serves until closed. `rpm`: requests answered in a minute, None: any number."""

    def __init__(
        self,
        dialect: Dialect,
        scenario: Scenario,
        wires: Mapping[tuple[str, int], Wire],
        record: Record,
        credentials: Credentials,
        rpm: int | None = None,
    ) -> None:
        self._dialect = dialect
        self._scenario = scenario
        self._wires = wires
        self._record = record
        self._credentials = credentials
        self._rpm = rpm
        self._window = (time.monotonic(), 0)
        self._attempts: Counter[str] = Counter()
        self._entries: dict[int, Json] = {}
        self._http = HttpServer(self._respond, self._ended)

    async def start(self, port: int = 0) -> int:
        """Begins to listen on loopback; returns the port."""
        return await self._http.start(port)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _respond(self, request: HttpRequest) -> Answer:
        try:
            return self._answer(request)
        except _Refused as refused:
            entry = self._note(request, refused=refused.message, status=refused.status)
            if refused.violation:
                self._record.violation(entry["number"], f"{self._dialect.name}: {refused.message}")
            body = error_body(self._dialect.error, refused.status, refused.message)
            return self._json(body, refused.status, refused.headers)

    def _answer(self, request: HttpRequest) -> Answer:
        dialect = self._dialect
        if request.method == "GET" and request.path == "/scripted/log":
            return self._json(self._record.summary())
        if request.method == "POST" and request.path == "/scripted/revoke":
            self._credentials.revoke()
            return self._json({})
        if request.method == "POST" and dialect.tokens and re.fullmatch(_TOKEN_PATHS[dialect.tokens], request.path):
            return self._token(request)
        if not self._credentials.accepts(request.headers):
            raise _Refused(401, "Invalid or missing credential")
        if request.method == "POST" and re.fullmatch(dialect.path, request.path):
            return self._model_call(request)
        if request.method == "POST" and dialect.count_path == request.path:
            return self._count(request)
        if request.method == "GET" and dialect.models_path == request.path:
            return self._models()
        if dialect.error == "databricks":
            raise _Refused(404, "Path must be of form /serving-endpoints/<endpoint_name>/invocations")
        raise _Refused(404, f"Not found: {request.method} {request.path}")

    def _token(self, request: HttpRequest) -> Answer:
        entry = self._record.request(request.path, request.headers, b"", token=True)
        self._entries[id(request)] = entry
        try:
            return self._json(self._credentials.issue(request.headers, request.body))
        except TokenRefused as refused:
            self._record.violation(entry["number"], f"token endpoint: {refused.error}")
            return self._json({"error": refused.error}, refused.status)

    def _model_call(self, request: HttpRequest) -> Answer:
        self._within_rate()
        asked, options = self._read(request)
        place = locate(self._scenario, asked)
        found = expectation.complaints(place.turn.expect, asked, place) if place.turn.expect is not None else []
        if found:
            raise _Refused(400, f"scenario: turn {place.step}: {'; '.join(found)}", violation=True)
        self._note(request, conversation=place.conversation.name, step=place.step, stream=asked.request.stream)
        wire = self._wires.get((place.conversation.name, place.step), Wire())
        pace = place.turn.pace or self._scenario.pace
        before: list[Step] = [Pause(pace.first_ms / 1000)] if pace.first_ms else []
        fault = self._fault(asked, place)
        early = self._early(fault, wire, before, stream=asked.request.stream)
        if early is not None:
            return early
        message = message_for(asked, place)
        if not asked.request.stream:
            whole = completion(message, self._dialect) if not self._dialect.messages_api else message
            calm = msgspec.structs.replace(wire, comments=False, garbage=False)
            steps, headers = carried([jsonbytes.encode(whole)], fault, calm, pace)
            return Answer(200, {**self._headers(), **headers, "content-type": "application/json"}, steps, before)
        frames = self._frames(message, pace, fault, wire, usage=bool(options.get("include_usage")))
        steps, headers = carried(frames, fault, wire, pace)
        sse = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        return Answer(200, {**self._headers(), **sse, **headers}, steps, before)

    def _within_rate(self) -> None:
        began, count = self._window
        now = time.monotonic()
        if now - began > _WINDOW:
            began, count = now, 0
        self._window = (began, count + 1)
        if self._rpm is not None and count >= self._rpm:
            wait = {"retry-after": str(max(1, int(_WINDOW - (now - began))))}
            raise _Refused(429, "Requests per minute of this deployment exceeded", headers=wait)

    def _read(self, request: HttpRequest) -> tuple[Asked, Json]:
        """The request as scenarios see it, and its stream options. Refuses what the server would."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise _Refused(415, "content-type must be application/json", violation=True)
        try:
            if self._dialect.messages_api:
                return self._read_messages(request), {}
            return self._read_chat(request)
        except ApiError as error:
            raise _Refused(error.status, error.message, violation=True) from error

    def _read_messages(self, request: HttpRequest) -> Asked:
        parsed = MessagesRequest.parse(request.body)
        check(parsed, request.headers, self._scenario.signatures)
        found = strict_messages.complaints(parsed, request.headers, self._dialect.name)
        if found:
            raise _Refused(400, found[0], violation=True)
        return Asked(parsed, request.headers, request.body)

    def _read_chat(self, request: HttpRequest) -> tuple[Asked, Json]:
        try:
            body = jsonbytes.decode_any(jsonbytes.Raw(request.body))
        except ValueError as error:
            raise _Refused(400, f"not JSON: {error}", violation=True) from error
        if not isinstance(body, dict):
            raise _Refused(400, "not a JSON object", violation=True)
        found = strict_chat.complaints(body, self._dialect.name)
        if found:
            raise _Refused(400, "; ".join(found[:5]), violation=True)
        for text, given in signed_thoughts(body):
            if given != signature(text) and given not in self._scenario.signatures:
                raise _Refused(400, "messages: Invalid `signature` in a reasoning block", violation=True)
        model = request.path.split("/")[-2]
        parsed = as_messages_request(body, model, fillers=self._dialect.name == "mistral")
        return Asked(parsed, request.headers, request.body), dict(body.get("stream_options") or {})

    def _fault(self, asked: Asked, place: Place) -> Fault | None:
        fault = place.turn.fault
        if fault is None or fault.attempts is None:
            return fault
        self._attempts[asked.digest] += 1
        return fault if self._attempts[asked.digest] <= fault.attempts else None

    def _early(self, fault: Fault | None, wire: Wire, before: list[Step], *, stream: bool) -> Answer | None:
        """An answer that is none of the model's."""
        if wire.html is not None:
            return Answer(wire.html, {"content-type": "text/html"}, [_FRONT_DOOR], before, whole=True)
        if wire.error_in_200:
            body = error_body(self._dialect.error, 500, "the engine has died")
            if not stream:
                return self._json(body, 200)
            sse = {**self._headers(), "content-type": "text/event-stream"}
            return Answer(200, sse, [self._error_frame(body)], before)
        if fault is not None and fault.status is not None:
            headers = {name.lower(): value for name, value in fault.headers.items()}
            if fault.body is not None:
                kind = {"content-type": fault.content_type}
                return Answer(fault.status, {**kind, **headers}, [fault.body.encode()], before, whole=True)
            body = error_body(self._dialect.error, fault.status, fault.message, fault.type)
            return self._json(body, fault.status, headers)
        if fault is not None and fault.stall and fault.after_events is None:
            return Answer(200, {}, [], before=[*before, "stall"])
        return None

    def _frames(self, message: Json, pace: Pace, fault: Fault | None, wire: Wire, *, usage: bool) -> list[bytes]:
        if self._dialect.messages_api:
            found = list(message_events(_emptied(message) if wire.no_content else message, pieces=pace.pieces))
            found[1:1] = [Event(events.PING, {"type": events.PING})] * pace.pings
            if self._dialect.metrics:
                found[-1] = Event(found[-1].name, {**found[-1].data, "amazon-bedrock-invocationMetrics": _METRICS})
            frames = [encode_event(event) for event in (_endless(found) if wire.endless else found)]
        else:
            stream = chunks(message, self._dialect, pieces=pace.pieces, usage=usage)
            written = [*stream.deltas[:2]] if wire.endless else spoiled(stream, wire)
            frames = [b"data: " + jsonbytes.encode(chunk) + b"\n\n" for chunk in written]
            frames += [] if wire.no_done or wire.endless else [_DONE]
            if self._dialect.comments:
                frames = [_PROCESSING, *frames]
        if fault is not None and fault.error_event is not None:
            after = len(frames) if fault.after_events is None else fault.after_events
            error = error_body(self._dialect.error, 500, fault.error_event.message, fault.error_event.type)
            frames = [*frames[:after], self._error_frame(error)]
        return frames

    def _error_frame(self, body: Json) -> bytes:
        if self._dialect.messages_api and self._dialect.error == "anthropic":
            return encode_event(Event(events.ERROR, body))
        return b"data: " + jsonbytes.encode(body) + b"\n\n"

    def _count(self, request: HttpRequest) -> Answer:
        self._note(request)
        MessagesRequest.parse(request.body, counting=True)
        count = self._scenario.count_tokens
        return self._json({"input_tokens": max(1, len(request.body) // 4) if count is None else count})

    def _models(self) -> Answer:
        if not self._dialect.messages_api:
            return self._json(
                {"object": "list", "data": [{"id": one, "object": "model"} for one in self._scenario.models]}
            )
        about = {"type": "model", "created_at": "2026-01-01T00:00:00Z"}
        data = [{"id": one, "display_name": one, **about} for one in self._scenario.models]
        return self._json({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})

    def _json(self, body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        all_headers = {**self._headers(), **(headers or {}), "content-type": "application/json"}
        return Answer(status, all_headers, [jsonbytes.encode(body)], whole=True)

    def _headers(self) -> dict[str, str]:
        return {"request-id": "req_of_the_upstream", **self._dialect.headers}

    def _note(self, request: HttpRequest, **about: object) -> Json:
        entry = self._record.request(request.path, request.headers, request.body, **about)
        self._entries[id(request)] = entry
        return entry

    def _ended(self, request: HttpRequest, complete: bool) -> None:
        entry = self._entries.pop(id(request), None)
        if entry is not None:
            self._record.ended(entry, complete=complete)


def _emptied(message: Json) -> Json:
    return {**message, "content": []}


def _endless(found: list[Event]) -> list[Event]:
    """Up to the first text that can be repeated."""
    deltas = (at for at, event in enumerate(found) if event.name == events.CONTENT_BLOCK_DELTA)
    return found[: next(deltas, 0) + 1]
