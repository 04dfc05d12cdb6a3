"""Context edits that the gateway applies in an upstream's place."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from adapt_support import Json, assistant, body_of, call, foreign, request, result, searched, thinking, user

from gateway.messages.errors import InvalidRequest
from gateway.messages.events import Event
from gateway.messages.request import MessagesRequest
from gateway.providers.adapt import ANTHROPIC, CHAT, DATABRICKS, Adapted, adapt, answered, estimate_edited
from gateway.providers.adapt.context_edits import CLEARED
from gateway.providers.estimate import estimate_tokens

NAMES = ["Bash", "Read", "Bash", "Grep", "Bash"]
BIG = "word " * 400


def loop(names: list[str] = NAMES) -> list[Json]:
    messages = [user("hi")]
    for nth, name in enumerate(names):
        messages += [assistant(call(f"t{nth}", name)), user(result(f"t{nth}", BIG))]
    return messages


def uses(**fields: Any) -> Json:
    return {"edits": [{"type": "clear_tool_uses_20250919", **fields}]}


def edited(messages: list[Json], managed: Json) -> Adapted:
    return adapt(request(messages, context_management=managed), CHAT, upstream="vllm")


def cleared(adapted: Adapted) -> list[str]:
    blocks = [block for message in body_of(adapted)["messages"] for block in message["content"] if block != "h"]
    return [block["tool_use_id"] for block in blocks if isinstance(block, dict) and block.get("content") == CLEARED]


TRIGGER = {"trigger": {"type": "tool_uses", "value": 2}}
KEEP_NONE = {"keep": {"type": "tool_uses", "value": 0}}
KEEP_ONE = {"keep": {"type": "tool_uses", "value": 1}}
EDITS: list[tuple[Json, list[str]]] = [
    ({}, []),
    ({"trigger": {"type": "input_tokens", "value": 200}}, ["t0", "t1"]),
    ({"trigger": {"type": "input_tokens", "value": 50_000}}, []),
    ({"trigger": {"type": "tool_uses", "value": 5}}, []),
    ({"trigger": {"type": "tool_uses", "value": 4}}, ["t0", "t1"]),
    ({**TRIGGER, "keep": {"type": "tool_uses", "value": 1}}, ["t0", "t1", "t2", "t3"]),
    ({**TRIGGER, "keep": {"type": "tool_uses", "value": 0}}, ["t0", "t1", "t2", "t3", "t4"]),
    ({**TRIGGER, "keep": {"type": "tool_uses", "value": 9}}, []),
    ({**TRIGGER, "exclude_tools": ["Bash"], "keep": {"type": "tool_uses", "value": 1}}, ["t1"]),
    ({**TRIGGER, "clear_at_least": {"type": "input_tokens", "value": 100}}, ["t0", "t1"]),
    ({**TRIGGER, "clear_at_least": {"type": "input_tokens", "value": 100_000}}, []),
]


@pytest.mark.parametrize(("edit", "ids"), EDITS, ids=[str(edit) for edit, _ in EDITS])
def test_old_tool_results_are_cleared_as_asked(edit: Json, ids: list[str]) -> None:
    adapted = edited(loop(), uses(**edit))
    assert cleared(adapted) == ids
    assert [report["cleared_tool_uses"] for report in adapted.applied_edits] == ([len(ids)] if ids else [])
    assert all(report["cleared_input_tokens"] > 100 for report in adapted.applied_edits)


@pytest.mark.parametrize(("inputs", "emptied"), [(True, ["t0", "t1"]), (["Read"], ["t1"]), (False, []), (None, [])])
def test_inputs_are_cleared_with_their_results_when_asked(inputs: object, emptied: list[str]) -> None:
    adapted = edited(loop(), uses(**TRIGGER, clear_tool_inputs=inputs))
    calls = [message["content"][0] for message in body_of(adapted)["messages"] if message["role"] == "assistant"]
    assert [block["id"] for block in calls if block["input"] == {}] == emptied


def test_results_of_server_tools_that_are_told_as_text_are_cleared_like_any() -> None:
    messages = [user("hi"), assistant(*searched("srvtoolu_1"), call("t1")), user(result("t1", BIG))]
    adapted = edited(messages, uses(trigger={"type": "tool_uses", "value": 1}, **KEEP_ONE))
    told = json.dumps(body_of(adapted)["messages"])
    assert "A page" not in told
    assert CLEARED in told
    assert adapted.applied_edits[0]["cleared_tool_uses"] == 1


def test_sealed_results_of_an_upstream_with_the_tool_stay_whole() -> None:
    searching = replace(CHAT, lacks=CHAT.lacks - {"web_search"})
    messages = [user("hi"), assistant(*searched("srvtoolu_1"), call("t1")), user(result("t1", BIG))]
    sent = request(messages, context_management=uses(trigger={"type": "tool_uses", "value": 0}, **KEEP_NONE))
    adapted = adapt(sent, searching, upstream="vllm")
    assert body_of(adapted)["messages"][1] == messages[1]
    assert cleared(adapted) == ["t1"]


def test_more_edits_than_anybody_needs_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"edits: List should have at most 8 items, not 9"):
        edited(loop(), {"edits": [*uses()["edits"]] * 9})


def test_a_count_tells_what_is_left_and_what_it_was() -> None:
    asked = request(loop(), context_management=uses(**TRIGGER), max_tokens=...)
    left, whole = estimate_edited(MessagesRequest.parse(asked.body, counting=True))
    assert whole is not None
    assert left == estimate_tokens(edited(loop(), uses(**TRIGGER)).request)
    assert whole == estimate_tokens(MessagesRequest.parse(asked.body, counting=True)) > left
    plain = MessagesRequest.parse(request(loop()).body)
    assert estimate_edited(plain) == (estimate_tokens(plain), None)


def test_the_same_conversation_is_cut_the_same_way_however_it_was_cut_before() -> None:
    once = edited(loop(), uses(**TRIGGER))
    longer = [*body_of(once)["messages"], assistant(call("t9", "Bash")), user(result("t9", BIG))]
    whole = [*loop(), assistant(call("t9", "Bash")), user(result("t9", BIG))]
    assert body_of(edited(longer, uses(**TRIGGER))) == body_of(edited(whole, uses(**TRIGGER)))


def turns() -> list[Json]:
    messages = []
    for nth in range(4):
        messages += [user("q"), assistant(foreign(), call(f"t{nth}")), user(result(f"t{nth}")), assistant("a")]
    return [*messages, user("q"), assistant(foreign(), call("last")), user(result("last"))]


def keep(value: object) -> Json:
    return {"edits": [{"type": "clear_thinking_20251015", **({} if value is None else {"keep": value})}]}


@pytest.mark.parametrize(
    ("kept", "count"),
    [
        ("all", 5),
        ({"type": "all"}, 5),
        (None, 1),
        ({"type": "thinking_turns", "value": 1}, 1),
        ({"type": "thinking_turns", "value": 3}, 3),
        ({"type": "thinking_turns", "value": 50}, 5),
    ],
)
def test_old_thinking_is_cleared_as_asked_and_never_that_of_the_open_turn(kept: object, count: int) -> None:
    adapted = edited(turns(), keep(kept))
    content = [block for message in body_of(adapted)["messages"] for block in message["content"]]
    assert sum(isinstance(block, dict) and block["type"] == "thinking" for block in content) == count
    assert body_of(adapted)["messages"][-2]["content"][0]["type"] == "thinking"
    assert [report["cleared_thinking_turns"] for report in adapted.applied_edits] == ([5 - count] if count < 5 else [])


def test_thinking_of_a_new_question_counts_from_the_turn_before() -> None:
    adapted = edited([*turns(), assistant("done"), user("next")], keep(None))
    content = [block for message in body_of(adapted)["messages"] for block in message["content"]]
    assert sum(isinstance(block, dict) and block["type"] == "thinking" for block in content) == 1


@pytest.mark.parametrize(
    ("managed", "complaint"),
    [
        (keep({"type": "turns", "value": 1}), "context_management.edits.0.keep.type: Input should be 'thinking_turns'"),
        (
            keep({"type": "thinking_turns", "value": 0}),
            "context_management.edits.0.keep.value: Input should be greater",
        ),
        (
            uses(trigger={"type": "tool_uses", "value": "2"}),
            "context_management.edits.0.trigger.value: Input should be",
        ),
    ],
)
def test_a_faulty_edit_is_refused_with_its_place(managed: Json, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        edited(loop(), managed)
    assert refusal.value.message.startswith(complaint)


def test_unknown_edits_do_nothing() -> None:
    adapted = edited(loop(), {"edits": [{"type": "clear_everything_20290101"}, 5]})
    assert body_of(adapted)["messages"] == loop()
    assert (adapted.applied_edits, adapted.edited) == ([], True)


def test_an_upstream_that_edits_itself_is_left_to_it() -> None:
    managed = uses(**TRIGGER)
    adapted = adapt(request(loop(), context_management=managed), ANTHROPIC, upstream="a")
    assert body_of(adapted)["context_management"] == managed
    assert body_of(adapted)["messages"] == loop()
    assert not adapted.edited


def test_claude_codes_usual_edit_costs_nothing() -> None:
    messages = [user("q"), assistant(thinking(), "a"), user("r")]
    sent = request(messages, context_management=keep("all"))
    assert body_of(adapt(sent, DATABRICKS, upstream="d"))["messages"] == messages


def delta(**fields: Any) -> Event:
    return Event("message_delta", {"type": "message_delta", **fields})


async def answer(adapted: Adapted, *events: Event) -> list[Event]:
    async def stream() -> AsyncIterator[Event]:
        for event in events:
            yield event

    return [event async for event in answered(stream(), adapted)]


END = delta(delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
SIGN_OF_LIFE = delta(delta={})


async def test_the_end_of_the_answer_tells_what_was_edited() -> None:
    adapted = edited(loop(), uses(**TRIGGER))
    life, end = await answer(adapted, SIGN_OF_LIFE, END)
    assert life == SIGN_OF_LIFE
    assert end.data == {**END.data, "context_management": {"applied_edits": adapted.applied_edits}}
    assert adapted.applied_edits[0]["type"] == "clear_tool_uses_20250919"


async def test_edits_that_were_not_due_are_told_as_an_empty_list() -> None:
    (end,) = await answer(edited([user("hi")], uses()), END)
    assert end.data["context_management"] == {"applied_edits": []}


async def test_answers_to_requests_without_edits_pass_unchanged() -> None:
    adapted = adapt(request(), CHAT, upstream="vllm")
    assert await answer(adapted, SIGN_OF_LIFE, END) == [SIGN_OF_LIFE, END]
