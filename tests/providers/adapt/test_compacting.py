"""Summaries made by the gateway: when, from what, and how they look to the client."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from adapt_support import Json, assistant, call, request, result, tool, user

from gateway.messages.assemble import Assembler
from gateway.messages.errors import InvalidRequest
from gateway.messages.events import Event
from gateway.messages.grammar import Grammar
from gateway.messages.pairing import check_pairing
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt import with_compaction
from gateway.providers.base import UpstreamBroken, UpstreamRequest


class Answer:
    """One text as a stream."""

    headers: Mapping[str, str] = {"request-id": "up_1"}

    def __init__(self, words: str, tokens: int) -> None:
        self._words = words
        self._tokens = tokens

    async def __aiter__(self) -> AsyncIterator[Event]:
        usage = {"input_tokens": self._tokens, "output_tokens": 1}
        start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
        script: list[tuple[str, Json]] = [
            ("message_start", {"message": start}),
            ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": self._words}}),
            ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
            ("message_stop", {}),
        ]
        for name, data in script:
            yield Event(name, {"type": name, **data})


class Upstream:
    """Answers with the given texts in turn; None is a failure. Keeps the bodies it was sent."""

    name = "upstream"

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.bodies: list[Json] = []

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[Answer]:
        self.bodies.append(json.loads(request.body))
        words = self.answers.pop(0)
        if words is None:
            raise UpstreamBroken("gone")
        yield Answer(words, 100 * len(self.bodies))

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        return None

    async def models(self) -> list[dict[str, Any]]:
        return []

    async def aclose(self) -> None:
        pass


EDIT = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}
CONVERSATION = [user("build it"), assistant(call("a")), user(result("a"), "go on")]


async def asked(upstream: Upstream, *, size: int = 60_000, **fields: Any) -> tuple[Json, list[Event]]:
    """The assembled answer and its events."""
    fields = {"tools": [tool("Bash")], **fields}
    assembler, grammar, events = Assembler(), Grammar(), []
    sent = request(CONVERSATION, **fields)
    async with with_compaction(upstream, sent, size=lambda _: size) as stream:
        async for event in stream:
            grammar.check(event)
            assembler.feed(event)
            events.append(event)
    assert grammar.finished
    return assembler.message, events


async def test_a_long_conversation_is_summed_up_and_goes_on_from_the_summary() -> None:
    upstream = Upstream("Well. <summary>We build it.</summary>", "On I go.")
    message, _ = await asked(upstream, context_management={"edits": [EDIT]}, stop_sequences=["x"])
    assert message["content"] == [
        {"type": "compaction", "content": "We build it."},
        {"type": "text", "text": "On I go."},
    ]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["iterations"] == [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 7},
        {"type": "message", "input_tokens": 200, "output_tokens": 7},
    ]
    first, second = upstream.bodies
    assert first["messages"][:3] == CONVERSATION
    assert first["tools"] == second["tools"] == [tool("Bash")]
    assert first["tool_choice"] == {"type": "none"}
    assert "stop_sequences" not in first
    assert second["stop_sequences"] == ["x"]
    assert [body for body in upstream.bodies if "context_management" in body] == []
    assert "We build it." in second["messages"][0]["content"][0]["text"]
    for body in upstream.bodies:
        check_pairing(MessagesRequest.parse(json.dumps(body).encode()).messages)


async def test_what_the_client_sends_back_means_what_was_sent_on() -> None:
    upstream = Upstream("<summary>S</summary>", "On.", "Done.")
    message, _ = await asked(upstream, context_management={"edits": [EDIT]})
    again = [*CONVERSATION, {"role": "assistant", "content": message["content"]}, user("and?")]
    async with with_compaction(upstream, request(again, context_management={"edits": [EDIT]}), size=_short):
        pass
    assert upstream.bodies[-1]["messages"] == again


def _short(sent: MessagesRequest) -> int:
    assert len(sent.messages) == 3  # the summary, the answer, the question
    return 10


async def test_a_short_conversation_is_sent_as_it_is() -> None:
    upstream = Upstream("Hi.")
    message, _ = await asked(upstream, size=49_999, context_management={"edits": [EDIT]})
    assert message["content"] == [{"type": "text", "text": "Hi."}]
    assert upstream.bodies[0]["context_management"] == {"edits": [EDIT]}


async def test_other_edits_stay_with_the_request_that_goes_on() -> None:
    clear = {"type": "clear_thinking_20251015", "keep": "all"}
    upstream = Upstream("S", "On.")
    await asked(upstream, context_management={"edits": [clear, EDIT]})
    assert upstream.bodies[1]["context_management"] == {"edits": [clear]}


async def test_the_clients_own_instructions_and_pause_are_obeyed() -> None:
    upstream = Upstream("Short.")
    edit = {**EDIT, "instructions": "Sum up in one word.", "pause_after_compaction": True}
    message, _ = await asked(upstream, context_management={"edits": [edit]})
    assert upstream.bodies[0]["messages"][-1] == user("Sum up in one word.")
    assert message["content"] == [{"type": "compaction", "content": "Short."}]
    assert message["stop_reason"] == "compaction"
    assert message["usage"]["iterations"][0]["type"] == "compaction"


async def test_a_summary_asked_for_by_parameter_is_the_whole_answer() -> None:
    upstream = Upstream("<summary>S</summary>")
    message, _ = await asked(upstream, size=1, compaction={"type": "summarize"})
    assert message["content"] == [{"type": "compaction", "content": "S"}]
    assert message["stop_reason"] == "compaction"
    assert "compaction" not in upstream.bodies[0]


@pytest.mark.parametrize("failed", [None, "", "<summary> </summary>"])
async def test_a_failed_summary_is_no_failure_of_the_turn(failed: str | None) -> None:
    upstream = Upstream(failed, "On.")
    message, _ = await asked(upstream, context_management={"edits": [EDIT]})
    assert message["content"] == [{"type": "text", "text": "On."}]
    assert upstream.bodies[1]["messages"] == CONVERSATION


async def test_a_trigger_below_the_apis_minimum_is_refused() -> None:
    edit = {**EDIT, "trigger": {"type": "input_tokens", "value": 10}}
    with pytest.raises(InvalidRequest) as refusal:
        await asked(Upstream(), context_management={"edits": [edit]})
    assert refusal.value.message == (
        "context_management.edits.0.trigger.value: Input should be greater than or equal to 50000"
    )


async def test_a_failure_of_the_answer_is_the_callers() -> None:
    with pytest.raises(UpstreamBroken):
        await asked(Upstream("S", None), context_management={"edits": [EDIT]})
