"""Answers of an upstream, right ones and what can become of them on their way: strategies for hypothesis.

Everything that is drawn is a script for `RawUpstream`. Knows what a Messages stream and a chat stream look like; must
not know what the gateway makes of them.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Sequence
from typing import Any, Literal

from hypothesis import strategies as st

from tests.support.raw_upstream import End, Script, chunk, with_length

__all__ = [
    "ERRORS",
    "SECRET",
    "STATUSES",
    "Dialect",
    "chat_call",
    "chat_text",
    "event",
    "messages_call",
    "messages_text",
    "scripts",
]

Json = dict[str, Any]
Dialect = Literal["messages", "chat"]

SECRET = "sk-ant-api03-Zm9yYmlkZGVuLXdvcmRz"
"""The gateway's own credential; upstreams like to quote it."""

COUNTS: st.SearchStrategy[Any] = st.sampled_from([None, -5, 0, 7, 10**30, 1.5, "12", [], {}, True])
MODEL = "model-of-the-upstream"


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {_compact({'type': name, **fields})}\n\n".encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _start(usage: object = None) -> bytes:
    message: Json = {"id": "msg_up", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage or {"input_tokens": 9, "output_tokens": 1}}
    return event("message_start", message=message)


def _block(index: int, block: Json, *deltas: Json) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=block),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def _end(reason: str) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": 12}), event("message_stop")]


def messages_text(*texts: str) -> list[bytes]:
    """A streamed answer of text, after some thought."""
    deltas = [{"type": "text_delta", "text": text} for text in texts or ("Größere ", "words", " 😀", "\n{}")]
    thoughts = [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "c2ln"}]
    return [
        _start(),
        event("ping"),
        *_block(0, {"type": "thinking", "thinking": "", "signature": ""}, *thoughts),
        *_block(1, {"type": "text", "text": ""}, *deltas),
        *_end("end_turn"),
    ]


def messages_call(name: str, given: Json, call_id: str = "toolu_up") -> list[bytes]:
    """A streamed answer that ends in a call."""
    text = _compact(given)
    parts = [{"type": "input_json_delta", "partial_json": part} for part in ("", text[:5], text[5:])]
    return [
        _start(),
        *_block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I call."}),
        *_block(1, {"type": "tool_use", "id": call_id, "name": name, "input": {}}, *parts),
        *_end("tool_use"),
    ]


def _data(value: object) -> bytes:
    return f"data: {_compact(value)}\n\n".encode()


def _delta(finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return _data({"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]})


CHAT_END = [
    _data({"id": "c", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
    b"data: [DONE]\n\n",
]


def chat_text(*texts: str) -> list[bytes]:
    """The same in the chat dialect."""
    said = [_delta(content=text) for text in texts or ("Größere ", "words", " 😀", "\n{}")]
    return [_delta(role="assistant", content=""), _delta(reasoning_content="hm"), *said, _delta("stop"), *CHAT_END]


def chat_call(name: str, given: Json, call_id: str = "call_up") -> list[bytes]:
    text = _compact(given)
    first = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": text[:5]}}
    rest = {"index": 0, "function": {"arguments": text[5:]}}
    said = [_delta(content="I call."), _delta(tool_calls=[first]), _delta(tool_calls=[rest])]
    return [*said, _delta("tool_calls"), *CHAT_END]


def _whole(dialect: Dialect, tool: tuple[str, Json] | None) -> Json:
    if dialect == "messages":
        content: list[Json] = [{"type": "text", "text": "words"}]
        if tool is not None:
            content.append({"type": "tool_use", "id": "toolu_up", "name": tool[0], "input": tool[1]})
        reason = "end_turn" if tool is None else "tool_use"
        head: Json = {"id": "msg_up", "type": "message", "role": "assistant", "model": MODEL}
        return {**head, "content": content, "stop_reason": reason, "usage": {"input_tokens": 9, "output_tokens": 4}}
    message: Json = {"role": "assistant", "content": "words"}
    if tool is not None:
        function = {"name": tool[0], "arguments": _compact(tool[1])}
        message["tool_calls"] = [{"id": "call_up", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "stop" if tool is None else "tool_calls"}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 9}}


STRAY = [
    event("error", error={"type": "overloaded_error", "message": f"Overloaded; your key {SECRET} is fine"}),
    event("error", error={"type": "authentication_error", "message": f"invalid x-api-key {SECRET}"}),
    event("error", error="text"),
    b'data: {"error":{"message":"the engine died","code":500}}\n\n',
    b'event: error\ndata: "text"\n\n',
    event("ping"),
    event("ping", cost=1),
    event("from_the_future", index=0, x=[1]),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("content_block_start", index=2, content_block={"type": "tool_use", "id": "", "name": "Bash", "input": {}}),
    event("content_block_start", index=2, content_block={"type": "mcp_tool_use", "id": "m", "name": "n", "input": {}}),
    event("content_block_start", index=2, content_block={"type": None}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "more"}),
    event("content_block_delta", index=1, delta={"type": "delta_of_the_future", "text": "more"}),
    event("content_block_delta", index=1, delta={"type": "citations_delta", "citation": {"type": "x"}}),
    event("content_block_stop", index=0),
    event("content_block_stop", index=True),
    event("message_delta", delta={"stop_reason": 5}, usage={"output_tokens": "many"}),
    event("message_delta", delta=[], usage=[]),
    event("message_delta", delta={"stop_reason": "reason_of_the_future", "container": {"id": "c"}}, usage=None),
    event("message_stop"),
    event("message_start", message={"content": [{"type": "text", "text": "already"}], "usage": "none"}),
    _delta("length"),
    _delta(tool_calls=[{"index": 1, "function": {"name": "Bash", "arguments": '{"command"'}}]),
    _delta(tool_calls=[{"index": 0, "id": "other", "function": {"name": "", "arguments": "}"}}]),
    _data({"choices": "none"}),
    _data({"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": 5}]}, "finish_reason": 7}]}),
    b": a comment\n\n",
    b"data: [DONE]\n\n",
    b"data:\n\n",
    b"\n\n",
    b"id: 5\nretry: 10\n\n",
    b"event: ping\n",
    b"data: {\n",
    b"data: [1]\n\n",
    b"data: \xff\xfe\n\n",
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",\ndata: "text":"two lines"}}\n\n',
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\x00",
    b"<html>",
    b"{" * 2000,
    b'data: {"type":"ping","x":' + b"[" * 3000 + b"]" * 3000 + b"}\n\n",
]
"""What does not belong where it is put."""


@st.composite
def _spoiled(draw: st.DrawFn, events: Sequence[bytes]) -> list[bytes]:
    """A stream with some faults, or none."""
    found = list(events)
    for _ in range(draw(st.integers(0, 3))):
        if not found:
            break
        at = draw(st.integers(0, len(found) - 1))
        match draw(st.sampled_from(["drop", "repeat", "swap", "flip", "damage", "stray", "stray", "usage", "glue"])):
            case "drop":
                del found[at]
            case "repeat":
                found.insert(at, found[at])
            case "swap":
                other = draw(st.integers(0, len(found) - 1))
                found[at], found[other] = found[other], found[at]
            case "flip":
                where = draw(st.integers(0, max(0, len(found[at]) - 1)))
                byte = draw(st.sampled_from([b"\x00", b"\n", b'"', b"\\", b"\xff", b"}", b"A", b"7", b""]))
                found[at] = found[at][:where] + byte + found[at][where + 1 :]
            case "damage":
                where = draw(st.integers(0, len(found[at])))
                found[at] = found[at][:where] + draw(st.binary(max_size=6)) + found[at][where:]
            case "stray":
                found.insert(at, draw(st.sampled_from(STRAY)))
            case "usage":
                counts = {name: draw(COUNTS) for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")}
                found.insert(at, event("message_delta", delta={}, usage=counts))
            case "glue":
                found[at] = found[at].removesuffix(b"\n")
    return found


@st.composite
def _spelled(draw: st.DrawFn, stream: bytes) -> bytes:
    """The same stream in another spelling that servers use."""
    match draw(st.sampled_from(["", "", "", "", "crlf", "cr", "no blank", "no names", "no spaces"])):
        case "crlf":
            return stream.replace(b"\n", b"\r\n")
        case "cr":
            return stream.replace(b"\n", b"\r")
        case "no blank":
            return stream.removesuffix(b"\n\n")
        case "no names":
            return b"\n".join(line for line in stream.split(b"\n") if not line.startswith(b"event:"))
        case "no spaces":
            return stream.replace(b": ", b":")
    return stream


TYPES = ("text/event-stream", "text/event-stream; charset=utf-8", "application/json", "text/html", "")


@st.composite
def _framed(draw: st.DrawFn, body: bytes, content_type: str) -> bytes:
    """An HTTP answer around the body, whose head may lie."""
    head = b"HTTP/1.1 200 OK\r\nserver: upstream\r\nset-cookie: a=b\r\nrequest-id: req_of_the_upstream\r\n"
    head += f"content-type: {content_type}\r\n".encode()
    match draw(
        st.sampled_from(["chunked"] * 14 + ["length"] * 5 + ["gzip", "to the end", "too long", "too short", "odd"])
    ):
        case "chunked":
            cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=8)) | {0, len(body)})
            pieces = [body[a:b] for a, b in itertools.pairwise(cuts)]
            chunks = b"".join(chunk(piece) for piece in pieces if piece)
            return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        case "length":
            return head + b"content-length: %d\r\n\r\n" % len(body) + body
        case "gzip":
            packed = gzip.compress(body)
            return head + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed
        case "to the end":
            return head + b"\r\n" + body
        case "too long":
            return head + b"content-length: %d\r\n\r\n" % (len(body) + draw(st.integers(1, 9))) + body
        case "too short":
            return head + b"content-length: %d\r\n\r\n" % max(0, len(body) - draw(st.integers(1, 9))) + body
    odd = draw(
        st.sampled_from([b"content-encoding: br\r\n", b"transfer-encoding: gzip\r\n", b"x" * 70000 + b": y\r\n"])
    )
    return head + odd + b"content-length: %d\r\n\r\n" % len(body) + body


ERRORS: list[tuple[bytes, str]] = [
    (_compact({"type": "error", "error": {"type": "authentication_error", "message": SECRET}}).encode(), "json"),
    (_compact({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).encode(), "json"),
    (_compact({"error": {"message": f"Incorrect API key: {SECRET}", "code": "invalid_api_key"}}).encode(), "json"),
    (_compact({"error": "http://127.0.0.1:9999/v1 is down", "type": 5}).encode(), "json"),
    (_compact({"error": {"message": {"a": [SECRET]}, "details": {"b": SECRET, "c": 1}}}).encode(), "json"),
    (_compact({"type": "error", "error": {"type": "x", "details": {"k": SECRET}, "message": SECRET}}).encode(), "json"),
    (_compact([{"error": {"status": "UNAVAILABLE", "message": "m", "code": 503}}]).encode(), "json"),
    (f"<html><body>Bearer {SECRET} at 127.0.0.1:9999</body></html>".encode(), "html"),
    (b"upstream connect error or disconnect", "plain"),
    (b"", "plain"),
    (b"{" * 900, "json"),
    (b"\xff\xfe\x00", "json"),
]  # fmt: skip
STATUSES = [200, 200, 201, 204, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 429, 500, 501, 502,
            503, 504, 520, 529, 599, 999]  # fmt: skip


@st.composite
def _refusal(draw: st.DrawFn) -> bytes:
    body, kind = draw(st.sampled_from(ERRORS))
    kinds = {"json": "application/json", "html": "text/html", "plain": "text/plain"}
    more = draw(
        st.sampled_from(
            [(), ("x-should-retry: true",), ("retry-after: 1",), ("www-authenticate: Basic",), ("x: \xff",)]
        )
    )
    return with_length(body, draw(st.sampled_from(STATUSES)), kinds[kind], *more)


@st.composite
def scripts(draw: st.DrawFn, dialect: Dialect, tool: tuple[str, Json] | None = None) -> Script:
    """One answer; `tool`: the call that it holds when it is a right one."""
    shape = draw(st.sampled_from(["stream"] * 7 + ["whole", "whole", "refusal", "noise"]))
    if shape == "refusal":
        wire = draw(_refusal())
    elif shape == "noise":
        wire = draw(st.binary(max_size=60))
    else:
        if shape == "stream":
            if dialect == "messages":
                events = messages_text() if tool is None else messages_call(*tool)
            else:
                events = chat_text() if tool is None else chat_call(*tool)
            body = draw(_spelled(b"".join(draw(_spoiled(events)))))
        else:
            body = b"".join(draw(_spoiled([_compact(_whole(dialect, tool)).encode()])))
        usual = TYPES[0] if shape == "stream" else TYPES[2]
        wire = draw(_framed(body, draw(st.sampled_from([usual] * 20 + list(TYPES)))))
    ends: list[End] = ["close", "close", "reset", "half-close", "stall"]
    if not draw(st.booleans()):
        return (wire,)
    cut = draw(st.integers(0, len(wire))) if draw(st.booleans()) else len(wire)
    parts: list[bytes | End] = [wire[:cut]]
    if draw(st.booleans()):
        middle = draw(st.integers(0, cut))
        parts = [wire[:middle], wire[middle:cut]]
    return (*parts, draw(st.sampled_from(ends)))
