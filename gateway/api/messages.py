"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import secrets
from hashlib import sha256

from fastapi import APIRouter, Request, Response

from gateway.agent.facts import TurnFacts
from gateway.agent.history import rebuild
from gateway.agent.loop import TurnRun
from gateway.agent.offer import Offer, offer_for
from gateway.agent.pairs import Pairs
from gateway.agent.turns import Turn, TurnKey
from gateway.api.auth import authenticate
from gateway.api.body import read_body
from gateway.api.client import SESSION_HEADER, ClientFacts, client_facts
from gateway.api.context import ApiContext, context_of, request_id_of
from gateway.api.stream import TurnResponse
from gateway.messages import jsonbytes
from gateway.messages.digest import turn_digest, working_directory
from gateway.messages.errors import NO_RETRY, ApiError, InvalidRequest
from gateway.messages.pairing import check_pairing
from gateway.messages.request import MessagesRequest
from gateway.providers.base import FORWARDED_HEADERS
from gateway.sandbox.driver import Workspace
from gateway.sandbox.session import SessionKey
from gateway.store.keys import Principal

router = APIRouter()


@router.post("/v1/messages")
async def create_message(request: Request) -> Response:
    """One turn: model calls and sandboxed tool calls until the model ends it or the client has a call to run."""
    context = context_of(request)
    principal = await authenticate(request)
    problem = context.problem()
    if problem is not None:
        raise ApiError(500, "api_error", problem, headers=NO_RETRY)
    parsed = MessagesRequest.parse(await read_body(request, context.settings.max_body_bytes))
    _check_model(context, parsed)
    client = client_facts(request.headers, parsed)
    facts = _turn_facts(context, principal, parsed, client, request)
    key = _turn_key(facts, parsed) if client.named else None

    async def work(turn: Turn) -> None:
        await TurnRun(facts, turn, context.services, Pairs(context.sealer, principal.subject)).run()

    turn = context.turns.start_or_join(key, work)
    return TurnResponse(
        context.turns,
        turn,
        stream=parsed.stream,
        patience=context.settings.heartbeat_seconds,
        request_id=facts.request_id,
        headers={SESSION_HEADER: client.session},
    )


@router.post("/v1/messages/count_tokens")
async def count_tokens(request: Request) -> Response:
    """Input tokens of a request as the upstream would get it."""
    context = context_of(request)
    principal = await authenticate(request)
    body = await read_body(request, context.settings.max_body_bytes)
    parsed = MessagesRequest.parse(body, counting=True)
    client = client_facts(request.headers, parsed)
    offer = _offer(context, parsed, client)
    messages = rebuild(parsed.messages, Pairs(context.sealer, principal.subject))
    encoded = parsed.encode(messages=messages, tools=offer.tools) if offer.changed else parsed.encode(messages=messages)
    count = await context.services.provider.count_tokens(encoded, _forwarded(request))
    return Response(jsonbytes.encode({"input_tokens": count}), media_type="application/json")


def _check_model(context: ApiContext, parsed: MessagesRequest) -> None:
    offered = context.settings.models
    if offered and parsed.model not in offered:
        raise InvalidRequest(f"model: {parsed.model} is not offered by this gateway; see GET /v1/models")


def _turn_facts(
    context: ApiContext, principal: Principal, parsed: MessagesRequest, client: ClientFacts, request: Request
) -> TurnFacts:
    messages = rebuild(parsed.messages, Pairs(context.sealer, principal.subject))
    check_pairing(messages)
    settings = context.settings
    display = client.claude_code if settings.display == "auto" else settings.display == "on"
    return TurnFacts(
        turn_id=f"turn_{secrets.token_hex(8)}",
        request_id=request_id_of(request),
        request=parsed,
        messages=messages,
        offer=_offer(context, parsed, client),
        headers=_forwarded(request),
        session=SessionKey(principal.subject, client.session),
        agent=client.agent,
        workspace=_workspace(context, principal),
        directory=working_directory(parsed.system_text, parsed.messages),
        display=display,
        client=client.program,
        digest=turn_digest(parsed.messages),
        cache_marks=parsed.encode().count(b'"cache_control"'),
    )


def _offer(context: ApiContext, parsed: MessagesRequest, client: ClientFacts) -> Offer:
    settings = context.settings
    return offer_for(
        parsed,
        sandboxed=settings.mode == "sandbox",
        claude_code=client.claude_code,
        client_tools=settings.client_tools,
    )


def _workspace(context: ApiContext, principal: Principal) -> Workspace:
    source = principal.workspace or str(context.settings.workspace_root)
    return Workspace(principal.workspace_mode or context.settings.workspace_mode, source, source)


def _turn_key(facts: TurnFacts, parsed: MessagesRequest) -> TurnKey:
    tools = ",".join(sorted(tool.name for tool in parsed.tools))
    basis = jsonbytes.encode([facts.digest, parsed.model, parsed.system_text, tools])
    return TurnKey(facts.session.subject, facts.session.client_session, facts.agent, sha256(basis).hexdigest())


def _forwarded(request: Request) -> dict[str, str]:
    return {name: request.headers[name] for name in FORWARDED_HEADERS if name in request.headers}
