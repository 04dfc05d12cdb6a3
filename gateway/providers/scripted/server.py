"""The scripted upstream: takes requests like the real API, answers from the scenario.

Knows the API's paths and what to check in which order; HTTP, matching and making answers are other files.
"""

import hashlib
from collections import Counter
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.errors import ApiError, InvalidRequest
from gateway.messages.request import MessagesRequest
from gateway.providers.scripted.answer import message_for
from gateway.providers.scripted.conversation import Asked, Place, locate
from gateway.providers.scripted.delivery import Answer, answer, error_answer
from gateway.providers.scripted.expectation import complaints
from gateway.providers.scripted.http import HttpRequest, HttpServer
from gateway.providers.scripted.record import Record
from gateway.providers.scripted.scenario import Fault, Scenario
from gateway.providers.scripted.strictness import GatewayLeak, check

__all__ = ["ScriptedServer"]

_BYTES_PER_TOKEN = 4


class ScriptedServer:
    """One scenario on one port. Its only state besides the record is how often a request was repeated, for
    faults that strike the first attempts only."""

    def __init__(self, scenario: Scenario, record: Record) -> None:
        self._scenario = scenario
        self._signatures = scenario.signatures
        self._record = record
        self._attempts: Counter[str] = Counter()
        self._entries: dict[int, dict[str, Any]] = {}
        self._http = HttpServer(self._respond, self._ended)

    async def start(self, port: int = 0) -> int:
        """Begins to listen on loopback; returns the port."""
        return await self._http.start(port)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _respond(self, request: HttpRequest) -> Answer:
        try:
            match request.method, request.path:
                case "POST", "/v1/messages":
                    return self._messages(request)
                case "POST", "/v1/messages/count_tokens":
                    return self._count(request)
                case "GET", "/v1/models":
                    return self._models()
                case "GET", "/scripted/log":
                    return _json(self._record.summary())
            raise ApiError(404, "not_found_error", f"Not found: {request.path}")
        except ApiError as error:
            number = hashlib.sha256(request.body).hexdigest()[:24]
            headers = {**error.headers, "request-id": f"req_{number}"}
            return error_answer(error.status, error.envelope(f"req_{number}"), headers)

    def _messages(self, request: HttpRequest) -> Answer:
        try:
            parsed = MessagesRequest.parse(request.body)
            check(parsed, request.headers, self._signatures)
        except ApiError as error:
            entry = self._note(request, refused=error.message)
            if isinstance(error, GatewayLeak):
                self._record.violation(entry["number"], error.message)
            raise
        asked = Asked(parsed, request.headers, request.body)
        place = locate(self._scenario, asked)
        entry = self._note(request, conversation=place.conversation.name, step=place.step, stream=parsed.stream)
        self._expect(asked, place, entry["number"])
        pace = place.turn.pace or self._scenario.pace
        return answer(
            message_for(asked, place),
            stream=parsed.stream,
            pace=pace,
            fault=self._fault(asked, place),
            request_id=f"req_{asked.digest[:24]}",
        )

    def _expect(self, asked: Asked, place: Place, number: int) -> None:
        expect = place.turn.expect
        found = complaints(expect, asked, place) if expect is not None else []
        if found:
            text = f"scenario: conversation {place.conversation.name!r} turn {place.step}: {'; '.join(found)}"
            self._record.violation(number, text)
            raise InvalidRequest(text)

    def _fault(self, asked: Asked, place: Place) -> Fault | None:
        fault = place.turn.fault
        if fault is None or fault.attempts is None:
            return fault
        self._attempts[asked.digest] += 1
        return fault if self._attempts[asked.digest] <= fault.attempts else None

    def _count(self, request: HttpRequest) -> Answer:
        self._note(request)
        MessagesRequest.parse(request.body, counting=True)
        count = self._scenario.count_tokens
        return _json({"input_tokens": max(1, len(request.body) // _BYTES_PER_TOKEN) if count is None else count})

    def _models(self) -> Answer:
        about = {"type": "model", "created_at": "2026-01-01T00:00:00Z"}
        data = [{"id": model, "display_name": model, **about} for model in self._scenario.models]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return _json({"data": data, "has_more": False, "first_id": first, "last_id": last})

    def _note(self, request: HttpRequest, **about: Any) -> dict[str, Any]:
        entry = self._record.request(request.path, request.headers, request.body, **about)
        self._entries[id(request)] = entry
        return entry

    def _ended(self, request: HttpRequest, complete: bool) -> None:
        entry = self._entries.pop(id(request), None)
        if entry is not None:
            self._record.ended(entry, complete=complete)


def _json(body: object) -> Answer:
    return Answer(200, {"content-type": "application/json"}, [jsonbytes.encode(body)], whole=True)
