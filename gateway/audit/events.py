"""The catalogue: every kind of event, when it is written, what its body says. The documentation shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["intent", "result", "note"]
"""An intent is durable before its effect; a result names its intent; a note stands alone."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event. `of` are the intents that a result may answer; `fields` are the body's."""

    kind: str
    role: Role
    when: str
    fields: Mapping[str, str]
    of: tuple[str, ...] = ()


_KINDS = (
    EventKind(
        "gateway.start",
        "note",
        "The gateway is about to serve.",
        {
            "version": "version of the gateway",
            "address": "host and port it listens on",
            "provider": "upstream provider",
            "driver": "sandbox driver",
            "unenforced": "plain sentences: what this driver does not enforce",
        },
    ),
    EventKind(
        "gateway.stop",
        "note",
        "The gateway ends in order; a missing one means it was killed.",
        {"reason": "signal or error", "seconds": "how long it served"},
    ),
    EventKind(
        "auth.refused",
        "note",
        "A request without a good key was refused.",
        {
            "refusal": "malformed, unknown, revoked, expired or missing",
            "key_id": "id of the key, if its secret was right",
            "peer": "address of the caller",
            "path": "path of the request",
        },
    ),
    EventKind(
        "key.created",
        "note",
        "An API key was made; written in the same transaction.",
        {
            "key_id": "id of the key",
            "name": "its name",
            "subject": "whom it stands for",
            "workspace": "directory it is narrowed to",
            "workspace_mode": "bind or copy",
            "expires_at": "UNIX seconds, if it expires",
            "limits": "limits of its own",
            "by": "who made it: an account of the host, or `first start`",
        },
    ),
    EventKind(
        "key.limited",
        "note",
        "The limits of an API key were changed; written in the same transaction.",
        {
            "key_id": "id of the key",
            "name": "its name",
            "subject": "whom it stands for",
            "before": "its limits until then",
            "limits": "its limits from now on",
            "by": "who changed them",
        },
    ),
    EventKind(
        "key.revoked",
        "note",
        "An API key was revoked; written in the same transaction.",
        {
            "key_id": "id of the key",
            "name": "its name",
            "subject": "whom it stood for",
            "by": "who revoked it",
        },
    ),
    EventKind(
        "session.open",
        "intent",
        "A sandbox is about to be made for a session.",
        {
            "client_session": "the client's name for the session",
            "workspace": "mode, source and mount of the workspace",
            "driver": "sandbox driver",
            "profile": "profile's name or digest",
        },
    ),
    EventKind(
        "session.opened",
        "result",
        "The sandbox answers.",
        {
            "container": "id of the sandbox",
            "name": "what the engine knows it by: the container's name, or a process id",
            "driver": "sandbox driver",
            "profile": "digest of the profile it was made from",
            "uid": "user id inside",
        },
        of=("session.open",),
    ),
    EventKind(
        "session.failed",
        "result",
        "The sandbox could not be made; nothing was left behind.",
        {"reason": "stable reason code", "message": "what went wrong"},
        of=("session.open",),
    ),
    EventKind(
        "session.close",
        "note",
        "A session ended and its sandbox is gone.",
        {
            "reason": "idle, broken, made room, closed by the operator ...",
            "container": "container or process id",
        },
    ),
    EventKind(
        "turn.start",
        "note",
        "A request for a turn was accepted.",
        {
            "turn": "id of the turn",
            "model": "model asked for",
            "client": "client's name and version, as it says",
            "agent": "id of the client's subagent; empty for the main one",
            "stream": "whether the reply is streamed",
            "messages": "number of messages",
            "digest": "SHA-256 of the normalised messages",
            "resumed_steps": "steps that an earlier request of the same turn already made",
        },
    ),
    EventKind(
        "turn.end",
        "note",
        "A turn ended.",
        {
            "turn": "id of the turn",
            "stop_reason": "stop reason the client was told",
            "steps": "model calls made",
            "calls": "tool calls run by the gateway",
            "input_tokens": "tokens of all model calls",
            "output_tokens": "tokens of all model calls",
            "ms": "wall time in milliseconds",
            "error": "type and message, if it failed",
        },
    ),
    EventKind(
        "model.call",
        "intent",
        "A request is about to go to the upstream model.",
        {
            "turn": "id of the turn",
            "step": "number of the call in the turn, from 1; absent where the request was only forwarded",
            "client": "client's name and version, as it says; of a forwarded request",
            "client_session": "client's name of its session; of a forwarded request",
            "agent": "id of the client's subagent; of a forwarded request",
            "provider": "upstream that is asked first",
            "model": "model asked for",
            "messages": "number of messages",
            "bytes": "size of the request",
            "digest": "SHA-256 of the request",
        },
    ),
    EventKind(
        "model.result",
        "result",
        "The upstream's answer ended, or failed.",
        {
            "turn": "id of the turn",
            "model": "model that answered",
            "upstream": "upstream that answered",
            "attempts": "tries it took, over all upstreams",
            "request_id": "the upstream's id of the request",
            "stop_reason": "its stop reason",
            "input_tokens": "as the upstream counts",
            "output_tokens": "as the upstream counts",
            "cache_read_input_tokens": "as the upstream counts",
            "cache_creation_input_tokens": "as the upstream counts",
            "ms": "wall time in milliseconds",
            "error": "type and message, if it failed",
        },
        of=("model.call",),
    ),
    EventKind(
        "model.cached",
        "note",
        "A request was answered from the prompt cache; no model was asked.",
        {
            "turn": "id of the turn",
            "client": "client's name and version, as it says",
            "model": "model asked for",
            "digest": "SHA-256 of the normalised messages",
            "age": "seconds since the answer was kept",
        },
    ),
    EventKind(
        "tool.intent",
        "intent",
        "A tool call is about to run in the sandbox.",
        {
            "turn": "id of the turn",
            "agent": "id of the client's subagent; empty for the main one",
            "call": "id of the call",
            "tool": "name of the tool",
            "input": "its input",
            "effect": "read, execute or write: what the call may do",
            "decision": "reason code of the policy decision",
        },
    ),
    EventKind(
        "tool.result",
        "result",
        "A tool call ended, however it ended.",
        {
            "turn": "id of the turn",
            "call": "id of the call",
            "tool": "name of the tool",
            "outcome": "ok, error, timeout, cancelled or lost",
            "exit": "exit code of its process",
            "bytes": "output bytes",
            "digest": "SHA-256 of the result the model saw",
            "facts": "what the tool says of its run: files, sizes, cut output ...",
            "ms": "wall time in milliseconds",
            "error": "what went wrong, if the call could not be carried out",
        },
        of=("tool.intent",),
    ),
    EventKind(
        "tool.refused",
        "note",
        "A tool call was refused; nothing ran.",
        {
            "turn": "id of the turn",
            "call": "id of the call",
            "tool": "name of the tool",
            "input": "its input",
            "reason": "stable reason code",
            "message": "what the model was told",
        },
    ),
    EventKind(
        "limit.reached",
        "note",
        "A limit stopped a turn, a call or a session.",
        {
            "turn": "id of the turn",
            "limit": "name of the setting",
            "value": "its value",
            "message": "what was told",
        },
    ),
    EventKind(
        "broker.refused",
        "note",
        "The broker refused a request of the gateway.",
        {"verb": "what was asked", "reason": "stable reason code", "message": "what was wrong"},
    ),
    EventKind(
        "audit.recovered",
        "note",
        "The log can be written again after a failure; results that waited follow it.",
        {
            "since": "UTC time of the first failed write",
            "reason": "why writing failed",
            "waiting": "events kept meanwhile, written right after this one",
            "lost": "events beyond the room for waiting ones, which are gone",
        },
    ),
)

CATALOGUE: Mapping[str, EventKind] = {kind.kind: kind for kind in _KINDS}


def undeclared(kind: str, body: Mapping[str, object]) -> set[str]:
    """Fields of a body that the catalogue does not name: for tests of whoever writes events."""
    return set(body) - set(CATALOGUE[kind].fields)
