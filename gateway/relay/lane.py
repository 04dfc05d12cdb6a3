"""The lane: an ASGI layer in front of the application that forwards the requests which need nothing else.

For each `POST /v1/messages` it reads the body, glances at it, and either relays it or hands it on untouched.
Authentication, limits, routing and audit are the same as behind it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.agent.failures import answer_of
from gateway.api.client import SESSION_HEADER, Claims, claims
from gateway.limits.admission import Admission
from gateway.messages import jsonbytes
from gateway.messages.errors import ApiError
from gateway.providers.base import FORWARDED_HEADERS, UpstreamRequest
from gateway.relay.glance import Glance, glance_at, needs_no_hand
from gateway.relay.passage import Passage
from gateway.relay.records import RelayRecords
from gateway.routing.router import Router
from gateway.store.keys import Principal

__all__ = ["Forwarding", "Lane"]

_PATH = "/v1/messages"


class Authenticates(Protocol):
    """Who is calling, by headers, peer and path. Raises `ApiError`."""

    async def __call__(self, headers: Mapping[str, str], peer: str | None, path: str) -> Principal: ...


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What the lane works with; made by the composition root when the application is up."""

    authenticate: Authenticates
    router: Router
    admission: Admission
    records: RelayRecords
    problem: Callable[[], str | None]
    sandboxed: bool
    client_tools: Sequence[str]
    caching: bool
    """With a prompt cache on nothing is forwarded here: the cache looks at every request."""
    max_body_bytes: int
    heartbeat_seconds: float
    max_seconds: float


class Lane:
    """`ready` gives the forwarding while the application is up, None before and after."""

    def __init__(self, app: ASGIApp, ready: Callable[[], Forwarding | None]) -> None:
        self._app = app
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        forwarding = self._ready()
        if (
            forwarding is None
            or scope["type"] != "http"
            or scope["path"] != _PATH
            or scope["method"] != "POST"
            or forwarding.problem() is not None
        ):
            await self._app(scope, receive, send)
            return
        headers, request_id = _headers(scope), f"req_{secrets.token_hex(12)}"
        try:
            # Before the body: nobody unknown is given room for one.
            peer = scope.get("client")
            principal = await forwarding.authenticate(headers, peer[0] if peer else None, scope["path"])
            arrived: list[Message] = []
            body = await _whole_body(receive, headers, arrived, forwarding.max_body_bytes)
            asked = None if body is None else _Asked.read(headers, body, request_id)
            if asked is not None and asked.forwardable(forwarding):
                await _forward(forwarding, principal, asked, receive, send)
                return
        except Exception as failure:  # noqa: BLE001 - the one place where a failure becomes an answer
            await _refuse(answer_of(failure, request_id), request_id, send)
            return
        await self._app(scope, _again(arrived, receive), send)


@dataclass(slots=True)
class _Asked:
    """A request as the lane sees it."""

    headers: Mapping[str, str]
    client: Claims
    glance: Glance
    request: UpstreamRequest

    @classmethod
    def read(cls, headers: Mapping[str, str], body: bytes, request_id: str) -> _Asked | None:
        """None where the body is no request at all."""
        glance = glance_at(body)
        if glance is None:
            return None
        kept = {name: headers[name] for name in FORWARDED_HEADERS if name in headers}
        # Marked as free of foreign reasoning, which `forwardable` makes sure of before anybody relies on it.
        request = UpstreamRequest(body, kept, request_id, glance.model, foreign_reasoning=False)
        return cls(headers, claims(headers), glance, request)

    def forwardable(self, forwarding: Forwarding) -> bool:
        glance, client = self.glance, self.client
        if not client.well_formed or forwarding.caching:
            return False
        if glance.may_name_a_session and "x-claude-code-session-id" not in self.headers:
            return False
        if not needs_no_hand(
            glance,
            sandboxed=forwarding.sandboxed,
            claude_code=client.claude_code,
            client_tools=forwarding.client_tools,
        ):
            return False
        try:
            return forwarding.router.relays(self.request)
        except ApiError:
            return False  # a model that is not on offer: said after the caller is known


async def _forward(forwarding: Forwarding, principal: Principal, asked: _Asked, receive: Receive, send: Send) -> None:
    glance, client, request = asked.glance, asked.client, asked.request
    with forwarding.admission.admit(principal, glance.model) as ticket:
        session = client.session or f"anon-{request.request_id.removeprefix('req_')}"
        record = await forwarding.records.begin(principal, client, session, request)
        passage = Passage(
            glance,
            send,
            request_id=request.request_id,
            headers={SESSION_HEADER: session, **ticket.headers},
            heartbeat_seconds=forwarding.heartbeat_seconds,
            max_seconds=forwarding.max_seconds,
            offered=glance.tool_names if forwarding.sandboxed else None,
        )
        problem: str | None = "cancelled"
        try:
            problem = await passage.run(forwarding.router, request, receive)
        except Exception as failure:
            problem = getattr(failure, "reason", None) or f"{type(failure).__name__}: {failure}"
            if not passage.begun:
                raise
            await passage.fail(answer_of(failure, request.request_id))
        finally:
            ticket.use(passage.target_model or glance.model, passage.usage)
            await forwarding.records.end(record, passage, problem)


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by name; of a repeated one the first counts, but betas may come in several."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if found.setdefault(name, value) is not value and name == "anthropic-beta" and value not in found[name]:
            found[name] += f", {value}"
    return found


async def _whole_body(receive: Receive, headers: Mapping[str, str], arrived: list[Message], limit: int) -> bytes | None:
    """The body, with its messages kept in `arrived`; None where it is not the lane's to judge: too large, or
    the client left."""
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        return None
    size = 0
    while True:
        message = await receive()
        arrived.append(message)
        if message["type"] != "http.request":
            return None
        size += len(message.get("body", b""))
        if size > limit:
            return None
        if not message.get("more_body", False):
            break
    if len(arrived) == 1:
        body: bytes = arrived[0].get("body", b"")
        return body
    return b"".join(message.get("body", b"") for message in arrived)


def _again(arrived: list[Message], receive: Receive) -> Receive:
    """The same request once more for the application behind."""
    waiting = iter(arrived)

    async def received() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return received


async def _refuse(error: ApiError, request_id: str, send: Send) -> None:
    body = jsonbytes.encode(error.envelope(request_id))
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    raw += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"request-id", request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
