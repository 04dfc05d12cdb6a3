"""For any script and any cut of its bytes the stream is legal or fails cleanly; for any conversation the body is
one that a strict server takes."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from chat_strictness import check_body
from conversations import assembled, call, delta, fragment, image, reading, result, text, tool, usage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.messages.events import Event
from gateway.messages.grammar import Grammar
from gateway.messages.request import MessagesRequest
from gateway.providers.base import UpstreamFailure
from gateway.providers.chat import DIALECTS, to_chat
from gateway.providers.chat.answer import events_of_pieces

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("Bash", "Read", "mcp__server__" + "long" * 20)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | words, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
arguments = st.dictionaries(words, values, max_size=3)


@st.composite
def cut(draw: st.DrawFn, whole: str) -> list[str]:
    at = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=4)) | {0, len(whole)})
    return [whole[begin:end] for begin, end in itertools.pairwise(at)]


@st.composite
def labelled_calls(draw: st.DrawFn) -> tuple[list[list[dict[str, Any]]], list[tuple[str, dict[str, Any]]]]:
    """Chunks of fragments of some parallel calls, in any interleaving, and what they mean."""
    meant = draw(st.lists(st.tuples(st.sampled_from(NAMES), arguments), min_size=1, max_size=4))
    style = draw(st.sampled_from(["index", "index and id", "id", "repeated", "whole", "one index", "objects"]))
    queues: list[list[dict[str, Any]]] = []
    for at, (name, value) in enumerate(meant):
        encoded = json.dumps(value, ensure_ascii=draw(st.booleans()))
        index = None if style == "id" else 0 if style == "one index" else at
        if style == "objects":
            queues.append([fragment(index, f"c{at}", name, value)])
        elif style in ("whole", "one index"):
            queues.append([fragment(index, f"c{at}", name, encoded)])
        else:
            pieces = draw(cut(encoded))
            again = f"c{at}" if style in ("index and id", "id", "repeated") else None
            queues.append(
                [fragment(index, f"c{at}", name, "")]
                + [fragment(index, again, name if style == "repeated" else None, piece) for piece in pieces]
            )
    order: list[dict[str, Any]] = []
    started: list[int] = []
    while any(queues):
        at = draw(st.sampled_from([at for at, queue in enumerate(queues) if queue]))
        if at not in started:
            started.append(at)
        order.append(queues[at].pop(0))
    grouped = (
        [order[at : at + 2] for at in range(0, len(order), 2)] if draw(st.booleans()) else [[one] for one in order]
    )
    return grouped, [meant[at] for at in started]


def said(pieces: list[str]) -> list[dict[str, Any]]:
    return [delta(content=piece) for piece in pieces]


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    reasoning, spoken = draw(words), draw(words)
    chunks = [delta(role="assistant", content="")] if draw(st.booleans()) else []
    chunks += [delta(reasoning_content=piece) for piece in draw(cut(reasoning))]
    chunks += said(draw(cut(spoken)))
    meant: list[tuple[str, dict[str, Any]]] = []
    if draw(st.booleans()):
        grouped, meant = draw(labelled_calls())
        chunks += [delta(tool_calls=group) for group in grouped]
    chunks.append(delta(draw(st.sampled_from(["stop", "tool_calls"]))))
    if draw(st.booleans()):
        chunks.append(usage(draw(st.integers(-3, 50)), draw(st.integers(-3, 50))))
    return chunks, {"reasoning": reasoning, "text": spoken, "calls": meant}


def wire(chunks: list[dict[str, Any]], end: str, *, done: bool) -> bytes:
    lines = [f"data: {json.dumps(chunk, ensure_ascii=False)}{end}{end}" for chunk in chunks]
    return "".join([f": comment{end}{end}", *lines, f"data: [DONE]{end}{end}" if done else ""]).encode()


@st.composite
def cut_bytes(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    at = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=8)) | {0, len(whole)})
    return [whole[begin:end] for begin, end in itertools.pairwise(at)]


async def _iterate(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if piece:
            yield piece


def read(pieces: list[bytes], **fields: Any) -> tuple[list[Event], UpstreamFailure | None]:
    """The events until the end or the failure, each checked by the grammar."""

    async def collect() -> tuple[list[Event], UpstreamFailure | None]:
        found: list[Event] = []
        grammar = Grammar()
        try:
            async for event in events_of_pieces(_iterate(pieces), reading(tools=TOOLS, **fields), 5):
                grammar.check(event)
                found.append(event)
        except UpstreamFailure as failure:
            return found, failure
        assert grammar.finished
        return found, None

    return asyncio.run(collect())


TOOLS = [tool(name) for name in NAMES]


@RELAXED
@given(st.data())
def test_arguments_text_and_reasoning_arrive_as_sent_however_labelled_interleaved_and_cut(data: st.DataObject) -> None:
    chunks, meant = data.draw(scripts())
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    pieces = data.draw(cut_bytes(wire(chunks, end, done=True)))
    events, failure = read(pieces)
    assert failure is None, failure
    content = assembled(events)["content"]
    assert [(block["name"], block["input"]) for block in content if block["type"] == "tool_use"] == meant["calls"]
    for kind, field, name in (("text", "text", "text"), ("thinking", "thinking", "reasoning")):
        shown = "".join(block[field] for block in content if block["type"] == kind)
        assert shown == (meant[name] if meant[name].strip() else "")


FIELDS = [
    *("choices", "delta", "message", "content", "tool_calls", "index", "id", "function", "name", "arguments", "usage"),
    *("finish_reason", "error", "type", "text", "reasoning", "reasoning_details", "summary", "refusal", "code"),
    *("prompt_tokens", "completion_tokens"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.floats(allow_nan=False) | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@RELAXED
@given(st.data())
def test_whatever_bytes_come_the_stream_is_legal_or_fails_as_the_seam_says(data: st.DataObject) -> None:
    chunks, _ = data.draw(scripts())
    for _ in range(data.draw(st.integers(0, 3))):
        odd = data.draw(
            st.one_of(
                st.dictionaries(st.sampled_from(["choices", "usage", "error", "object"]), json_values),
                st.builds(lambda value: {"choices": [{"delta": value}]}, json_values),
                st.builds(lambda value: {"choices": [value]}, json_values),
                st.just(delta("length")),
            )
        )
        chunks.insert(data.draw(st.integers(0, len(chunks))), odd)
    whole = wire(chunks, "\n", done=data.draw(st.booleans()))
    whole = whole[: data.draw(st.integers(0, len(whole)))] + data.draw(st.binary(max_size=4))
    choice = {"type": "auto", "disable_parallel_tool_use": data.draw(st.booleans())}
    read(data.draw(cut_bytes(whole)), tool_choice=choice, stop_sequences=["a", "b", "c", "d", "e"])


plain_blocks: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(text, words.filter(str.strip)),
    st.just(text(" ")),
    st.just(image()),
    st.just(image("url")),
    st.just({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
    st.just({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}),
    st.just({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}),
    st.just({"type": "from_the_future", "x": 1}),
)
result_contents = st.one_of(st.none(), words, st.lists(plain_blocks, max_size=3))
assistant_blocks: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(text, words),
    st.just({"type": "thinking", "thinking": "hm", "signature": "x"}),
    st.just({"type": "redacted_thinking", "data": "x"}),
)
system_entries: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"role": "system", "content": "be brief"},
        {"role": "system", "content": [text("for now")], "clear_at": "next_user_message"},
        {"role": "system", "output_config": {"effort": "low"}},
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    number = 0
    waiting: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        results = [
            result(one, draw(result_contents), **({"is_error": True} if draw(st.booleans()) else {}))
            for one in draw(st.permutations(waiting))
        ]
        messages.append({"role": "user", "content": results + draw(st.lists(plain_blocks, max_size=3))})
        if draw(st.booleans()):
            messages.append({"role": "user", "content": draw(words)})
        if draw(st.booleans()):
            messages.append(draw(system_entries))
        waiting = []
        blocks = draw(st.lists(assistant_blocks, max_size=3))
        for _ in range(draw(st.integers(0, 3))):
            number += 1
            waiting.append(draw(st.sampled_from(["toolu_01Abc", "call_", "toolu_bh_eA", "späth"])) + str(number))
            blocks.append(call(waiting[-1], draw(st.sampled_from([*NAMES, "a.b", ""])) or "x", a=draw(values)))
        messages.append({"role": "assistant", "content": blocks})
    if waiting:
        messages.append({"role": "user", "content": [result(one) for one in waiting]})
    return {
        "model": draw(st.sampled_from(["m", "claude-sonnet-4-5", "mistral-small", "gpt-5"])),
        "max_tokens": draw(st.integers(0, 200_000)),
        "messages": messages,
        "tools": draw(
            st.lists(st.sampled_from([tool(name) for name in NAMES]), max_size=3, unique_by=lambda t: t["name"])
        ),
        "system": draw(words),
        "thinking": draw(st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}])),
        "tool_choice": {"type": draw(st.sampled_from(["auto", "any", "none"]))},
    }


@RELAXED
@given(conversations(), st.sampled_from(sorted(DIALECTS)))
def test_any_conversation_becomes_a_body_that_a_strict_server_takes(body: dict[str, Any], name: str) -> None:
    request = MessagesRequest.parse(json.dumps(body).encode())
    made = to_chat(request, DIALECTS[name], upstream="up")
    flags = DIALECTS[name].for_model(body["model"])
    check_body(json.loads(made.encode()), tool_id=flags.tool_id, after_tools=flags.after_results is not None)
    assert "iVBORw0KGgo" not in json.dumps([one for one in made.fields["messages"] if one["role"] == "tool"]) or (
        flags.images_in_results
    )
