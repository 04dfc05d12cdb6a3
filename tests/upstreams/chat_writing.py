"""Writes a scenario's message the way an OpenAI-style server does: one JSON object, or chunks of a stream.

Knows chat completions and the dialects' forms. Must not know scenarios or sockets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.messages import jsonbytes
from tests.upstreams.dialects import Dialect

__all__ = ["Chunks", "chunks", "completion", "usage_of"]

Json = dict[str, Any]

_CREATED = 1_790_000_000
_FINISH: Mapping[str, str] = {"tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}


@dataclass(frozen=True)
class Chunks:
    """A stream before it is spoiled: the deltas, the chunk that finishes, the chunk that counts (or none)."""

    deltas: Sequence[Json]
    finish: Json
    usage: Json | None


def completion(message: Mapping[str, Any], dialect: Dialect) -> Json:
    """The answer in one piece."""
    parts = _Parts.of(message, dialect)
    answer: Json = {"role": "assistant", "content": parts.text or None, **_told(parts, dialect)}
    if parts.calls:
        answer["tool_calls"] = [_call(one, nth, dialect) for nth, one in enumerate(parts.calls)]
    choice = {"index": 0, "message": answer, "finish_reason": _finish(message)}
    return {**_head(message, "chat.completion"), "choices": [choice], "usage": usage_of(message)}


def chunks(message: Mapping[str, Any], dialect: Dialect, *, pieces: int, usage: bool) -> Chunks:
    """The stream; texts and arguments in up to `pieces` deltas each. `usage`: the request asked for counts."""
    parts = _Parts.of(message, dialect)
    deltas = [{"role": "assistant", "content": ""}, *_deltas(parts, dialect, pieces)]
    head = _head(message, "chat.completion.chunk")
    last: Json = {}
    if dialect.call == "whole at finish" and parts.calls:
        last = {"tool_calls": [_call(one, nth, dialect) for nth, one in enumerate(parts.calls)]}
    finish = {**head, "choices": [{"index": 0, "delta": last, "finish_reason": _finish(message)}]}
    counted = usage or not dialect.usage_asked
    counts = {**head, "choices": [], "usage": usage_of(message)} if counted else None
    if dialect.call == "whole at finish":
        finish, counts = {**finish, "usage": usage_of(message)}, None
    written = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return Chunks(written, finish, counts)


def usage_of(message: Mapping[str, Any]) -> Json:
    """Counts in chat terms: the prompt with its cached part in it."""
    usage = message["usage"]
    cached = int(usage.get("cache_read_input_tokens") or 0)
    prompt = int(usage["input_tokens"]) + cached + int(usage.get("cache_creation_input_tokens") or 0)
    output = int(usage["output_tokens"])
    counts: Json = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return {**counts, "prompt_tokens_details": {"cached_tokens": cached}}


@dataclass(frozen=True)
class _Parts:
    """A message as chat completions have it: all thinking, all text, all calls."""

    thinking: str
    signature: str
    text: str
    calls: Sequence[Json]

    @classmethod
    def of(cls, message: Mapping[str, Any], dialect: Dialect) -> _Parts:
        blocks = message["content"]
        thoughts = [block for block in blocks if block["type"] == "thinking"]
        told = dialect.thinking != "none"
        return cls(
            "".join(block["thinking"] for block in thoughts) if told else "",
            "".join(block["signature"] for block in thoughts) if told else "",
            "".join(block["text"] for block in blocks if block["type"] == "text"),
            [block for block in blocks if block["type"] == "tool_use"],
        )


def _told(parts: _Parts, dialect: Dialect) -> Json:
    """The fields of a whole message that tell its thinking (and its text, where both share a list)."""
    if not parts.thinking:
        return {}
    match dialect.thinking:
        case "summary":
            return {"content": [_summary(parts.thinking, parts.signature), {"type": "text", "text": parts.text}]}
        case "parts":
            return {"content": [_thought(parts.thinking), {"type": "text", "text": parts.text}]}
        case "details":
            return {"reasoning": parts.thinking, "reasoning_details": [_detail(parts.thinking, parts.signature)]}
        case "reasoning" | "reasoning_content":
            return {dialect.thinking: parts.thinking}
    return {}


def _deltas(parts: _Parts, dialect: Dialect, pieces: int) -> Iterator[Json]:
    for piece in _cut(parts.thinking, pieces):
        match dialect.thinking:
            case "summary":
                yield {"content": [_summary(piece, "")]}
            case "parts":
                yield {"content": [_thought(piece)]}
            case "details":
                yield {"content": "", "reasoning": piece, "reasoning_details": [_detail(piece, None)]}
            case _:
                yield {dialect.thinking: piece}
    if parts.thinking and dialect.thinking == "summary":
        yield {"content": [_summary("", parts.signature)]}
    if parts.thinking and dialect.thinking == "details":
        yield {"content": "", "reasoning": None, "reasoning_details": [_detail(None, parts.signature)]}
    yield from ({"content": piece} for piece in _cut(parts.text, pieces))
    for nth, block in enumerate(parts.calls):
        if dialect.call == "whole":
            yield {"content": "", "tool_calls": [_call(block, nth, dialect)]}
        elif dialect.call == "fragments":
            begun = _call(block, nth, dialect)
            arguments = begun["function"].pop("arguments")
            begun["function"]["arguments"] = ""
            yield {"tool_calls": [begun]}
            for piece in _cut(arguments, pieces):
                yield {"tool_calls": [{"index": nth, "function": {"arguments": piece}}]}


def _call(block: Json, nth: int, dialect: Dialect) -> Json:
    digest = hashlib.sha256(str(block["id"]).encode()).hexdigest()
    function = {"name": block["name"], "arguments": jsonbytes.encode(block["input"]).decode()}
    identity = dialect.call_prefix + digest[: dialect.call_length]
    return {"index": nth, "id": identity, "type": "function", "function": function}


def _summary(text: str, signature: str) -> Json:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text, "signature": signature}]}


def _thought(text: str) -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _detail(text: str | None, signature: str | None) -> Json:
    detail: Json = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    if text is not None:
        detail["text"] = text
    if signature is not None:
        detail["signature"] = signature
    return detail


def _head(message: Mapping[str, Any], kind: str) -> Json:
    identity = "chatcmpl-" + str(message["id"]).removeprefix("msg_")
    return {"id": identity, "object": kind, "created": _CREATED, "model": message["model"]}


def _finish(message: Mapping[str, Any]) -> str:
    return _FINISH.get(str(message["stop_reason"]), "stop")


def _cut(text: str, pieces: int) -> Iterator[str]:
    size = max(1, -(-len(text) // max(1, pieces)))
    yield from (text[at : at + size] for at in range(0, len(text), size))
