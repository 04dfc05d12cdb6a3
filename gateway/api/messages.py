"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from gateway.agent.facts import TurnFacts
from gateway.agent.history import rebuild
from gateway.agent.loop import TurnRun
from gateway.agent.offer import Offer, offer_for
from gateway.agent.pairs import Pairs
from gateway.agent.records import Source
from gateway.agent.turns import Turn, TurnKey
from gateway.api.auth import authenticate
from gateway.api.body import read_body
from gateway.api.client import SESSION_HEADER, ClientFacts, client_facts
from gateway.api.context import ApiContext, context_of, request_id_of
from gateway.api.memory import Memory, hit_response
from gateway.api.stream import TurnResponse
from gateway.cache import Hit
from gateway.messages import jsonbytes
from gateway.messages.digest import turn_digest, working_directory
from gateway.messages.errors import NO_RETRY, ApiError, InvalidRequest
from gateway.messages.pairing import check_pairing
from gateway.messages.request import MessagesRequest
from gateway.messages.rules import check_rules, refuse_threads
from gateway.messages.tool_choice import normalised_tool_choice
from gateway.messages.versions import check_version
from gateway.providers.adapt import estimate_edited
from gateway.providers.base import FORWARDED_HEADERS, UpstreamRequest
from gateway.sandbox.driver import Workspace
from gateway.sandbox.session import SessionKey
from gateway.store.keys import Principal

router = APIRouter()

COUNT_HEADER = "x-bulkhead-token-count"
"""On answers of count_tokens: who counted."""


@router.post("/v1/messages")
async def create_message(request: Request) -> Response:
    """One turn: model calls and sandboxed tool calls until the model ends it or the client has a call to run."""
    context = context_of(request)
    principal = await authenticate(request)
    problem = context.problem()
    if problem is not None:
        raise ApiError(500, "api_error", problem, headers=NO_RETRY)
    parsed = _checked(await read_body(request, context.settings.max_body_bytes), request.headers)
    route = context.services.router.route(parsed.model)
    client = client_facts(request.headers, parsed)
    facts = _turn_facts(context, principal, parsed, client, request)
    key = _turn_key(facts, parsed) if client.named else None
    joined = context.turns.joinable(key) if context.admission.allows(principal, parsed.model) else None
    if joined is not None:  # it has a ticket of its own
        return _followed(context, joined, parsed, facts, {SESSION_HEADER: client.session})
    async with contextlib.AsyncExitStack() as stack:
        ticket = stack.enter_context(context.admission.admit(principal, parsed.model))
        memory = Memory(context.prompt_cache, principal.subject, enabled=context.settings.prompt_cache_enabled)
        place = await memory.seek(parsed, _joined(request.headers), route, runs_tools=facts.offer.gateway_runs_any)
        headers = {SESSION_HEADER: client.session, **ticket.headers, **memory.headers}
        if place is not None:
            stack.enter_context(place)
            if place.hit is not None:
                await _record_hit(context, facts, place.hit)
                return hit_response(place.hit, stream=parsed.stream, headers=headers)
        held = stack.pop_all()

    async def work(turn: Turn) -> None:
        answered: set[tuple[str | None, str | None]] = set()

        def meter(source: Source, usage: Mapping[str, Any]) -> None:
            answered.add((source.upstream, source.model))
            ticket.use(source.model or parsed.model, usage)

        async with held:
            run = TurnRun(facts, turn, context.services, Pairs(context.sealer, principal.subject), meter)
            await run.run()
            # What a spare answered would be told long after the first is well again.
            first = route.targets[0]
            if place is not None and turn.succeeded and answered == {(first.upstream, first.model)}:
                place.keep(turn.log.message())

    turn = context.turns.start_or_join(key, work)
    if turn.work is not work:
        await held.aclose()
    return _followed(context, turn, parsed, facts, headers)


def _followed(
    context: ApiContext, turn: Turn, parsed: MessagesRequest, facts: TurnFacts, headers: Mapping[str, str]
) -> TurnResponse:
    return TurnResponse(
        context.turns,
        turn,
        stream=parsed.stream,
        patience=context.settings.heartbeat_seconds,
        request_id=facts.request_id,
        headers=headers,
    )


@router.post("/v1/messages/count_tokens")
async def count_tokens(request: Request) -> Response:
    """Input tokens of a request as the upstream would get it: its own count, or an estimate that says so."""
    context = context_of(request)
    principal = await authenticate(request)
    body = await read_body(request, context.settings.max_body_bytes)
    parsed = _checked(body, request.headers, counting=True)
    if not context.admission.allows(principal, parsed.model):
        raise InvalidRequest(f"model: {parsed.model} is not among the models of this key")
    client = client_facts(request.headers, parsed)
    offer = _offer(context, parsed, client)
    messages = rebuild(parsed.messages, Pairs(context.sealer, principal.subject))
    encoded = parsed.encode(messages=messages, tools=offer.tools) if offer.changed else parsed.encode(messages=messages)
    asked = UpstreamRequest(encoded, _forwarded(request), request_id_of(request), parsed.model)
    count = await context.services.router.count_tokens(asked)
    headers = {COUNT_HEADER: "upstream" if count is not None else "estimate"}
    left = whole = None
    if count is None or "context_management" in parsed.fields:
        left, whole = await asyncio.to_thread(estimate_edited, MessagesRequest.parse(encoded, counting=True))
    count = left if count is None else count
    told: dict[str, Any] = {"input_tokens": count}
    if whole is not None and left is not None and count is not None:
        told["context_management"] = {"original_input_tokens": count + whole - left}
    return Response(jsonbytes.encode(told), headers=headers, media_type="application/json")


def _checked(body: bytes, headers: Mapping[str, str], *, counting: bool = False) -> MessagesRequest:
    """The request as this API's versions have it. Raises `InvalidRequest`."""
    parsed = MessagesRequest.parse(body, counting=counting)
    check_version(parsed, headers.get("anthropic-version"))
    refuse_threads(parsed)
    check_rules(parsed)
    choice = normalised_tool_choice(parsed.tool_choice)
    if choice is not parsed.tool_choice:
        parsed = MessagesRequest.parse(parsed.encode(tool_choice=choice), counting=counting)
    return parsed


async def _record_hit(context: ApiContext, facts: TurnFacts, hit: Hit) -> None:
    await context.services.audit.record(
        "model.cached",
        session=None,
        principal=facts.session.subject,
        body={
            "turn": facts.turn_id,
            "client": facts.client,
            "model": facts.request.model,
            "digest": facts.digest,
            "age": round(hit.age, 1),
        },
    )


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
        reads_iterations=client.reads_iterations,
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
    joined = _joined(request.headers)
    return {name: joined[name] for name in FORWARDED_HEADERS if name in joined}


def _joined(headers: Headers) -> dict[str, str]:
    """By name in small letters; a list may come in several headers of one name, which are one header of all."""
    return {name: ", ".join(dict.fromkeys(headers.getlist(name))) for name in headers}
