"""API versions, rules over several fields, and old wordings of tool_choice."""

import json
from typing import Any

import pytest

from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest
from gateway.messages.rules import check_rules, refuse_threads
from gateway.messages.tool_choice import normalised_tool_choice
from gateway.messages.versions import check_version

Json = dict[str, Any]
OLD, NEW = "2023-06-01", "2026-10-21"


def parsed(*messages: Json, **fields: Any) -> MessagesRequest:
    turns = list(messages) or [said("user", "hi")]
    return MessagesRequest.parse(json.dumps({"model": "m", "max_tokens": 2000, "messages": turns, **fields}).encode())


def said(role: str, *content: Any, **extra: Any) -> Json:
    whole = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
    return {"role": role, "content": whole, **extra}


def text(words: str, **extra: Any) -> Json:
    return {"type": "text", "text": words, **extra}


def used(id: str) -> Json:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": "Bash", "input": {}}


def answered(id: str, content: Any) -> Json:  # noqa: A002
    return {"type": "tool_result", "tool_use_id": id, "content": content}


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
CITATION = [{"type": "char_location", "document_index": 0}]
FETCHED = {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {"type": "x", "content": DOCUMENT}}


def test_a_request_without_a_version_has_the_first() -> None:
    assert check_version(parsed(), None) == OLD
    assert check_version(parsed(), " ") == OLD
    assert check_version(parsed(), NEW) == NEW


@pytest.mark.parametrize("version", ["2024-01-01", "latest", "2023-06-01, 2026-10-21", "x" * 500])
def test_an_unknown_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_version(parsed(), version)
    assert refusal.value.message.startswith("anthropic-version: ")
    assert len(refusal.value.message) < 200


USER = said("user", "hi")
LATER = [USER, said("assistant", used("a"))]
NEWER_RULES: list[tuple[MessagesRequest, str]] = [
    (parsed(temperature=1.0), "temperature: "),
    (parsed(top_p=0.9), "top_p: "),
    (parsed(top_k=5), "top_k: "),
    (parsed(USER, said("assistant", text("a"), DOCUMENT)), "messages.1.content.1: `document` blocks"),
    (parsed(said("user", text("a"), text("b", citations=CITATION))), "messages.0.content.1.citations: "),
    (
        parsed(*LATER, said("user", answered("a", [text("b", citations=CITATION)]))),
        "messages.2.content.0.tool_result.content.0.citations: ",
    ),
]


@pytest.mark.parametrize(("request_", "complaint"), NEWER_RULES, ids=[words for _, words in NEWER_RULES])
def test_the_newer_version_refuses_what_the_older_took(request_: MessagesRequest, complaint: str) -> None:
    assert check_version(request_, OLD) == OLD
    with pytest.raises(InvalidRequest) as refusal:
        check_version(request_, NEW)
    assert refusal.value.message.startswith(complaint)


@pytest.mark.parametrize(
    "request_",
    [
        parsed(said("user", DOCUMENT, text('what does "citations" mean?'))),
        parsed(said("user", text("a", citations=[]), text("b", citations=None))),
        parsed(USER, said("assistant", FETCHED, text("so", citations=CITATION)), said("user", "thanks")),
        parsed(*LATER, said("user", answered("a", [DOCUMENT]))),
        parsed(said("user", {**DOCUMENT, "citations": {"enabled": True}})),
    ],
)
def test_the_newer_version_takes_the_rest(request_: MessagesRequest) -> None:
    assert check_version(request_, NEW) == NEW


MARK = {"cache_control": {"type": "ephemeral"}}
TOOL = {"name": "Bash", "input_schema": {"type": "object"}}
WAITING = {**TOOL, "name": "Deploy", "defer_loading": True}
PLACEHOLDER = {**WAITING, "name": "DeferredToolPlaceholder"}
MANUAL = {"type": "enabled", "budget_tokens": 1500}
SYSTEM = said("system", "note")
EFFORT = {"role": "system", "output_config": {"effort": "low"}}
ASSISTANT = said("assistant", "ok")
REFERENCE = {"type": "tool_reference", "tool_name": "Nope"}

BROKEN: list[tuple[MessagesRequest, str]] = [
    (parsed(USER, ASSISTANT, SYSTEM), "messages.2: a `system` message must follow a `user` message"),
    (parsed(USER, SYSTEM, SYSTEM), "messages.2: `system` messages may not follow one another"),
    (parsed(USER, SYSTEM, USER), "messages.1: a `system` message must be last or be followed by"),
    (parsed(USER, {"role": "system", "content": []}), "messages.1: `system` messages must have content"),
    (parsed(said("user", "")), "messages.0: user messages must have non-empty content"),
    (parsed(said("user", text("a"), text(""))), "messages.0.content.1: text content blocks must be non-empty"),
    (parsed(said("user", " \n")), "messages.0.content.0: text content blocks must contain non-whitespace text"),
    (parsed(system=[text("")]), "system.0: text content blocks must be non-empty"),
    (
        parsed(
            said("user", text("a", **MARK), text("b", **MARK), text("c", **MARK)), system=[text("s", **MARK)], **MARK
        ),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        parsed(
            *LATER,
            said("user", {**answered("a", [text("r", **MARK)]), **MARK}),
            tools=[{**TOOL, **MARK}],
            system=[text("s", **MARK), text("t", **MARK)],
        ),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (parsed(stop_sequences=["a", " "]), "stop_sequences.1: each stop sequence must contain non-whitespace"),
    (parsed(stop_sequences="a"), "stop_sequences: Input should be a valid list"),
    (parsed(stop_sequences=[1]), "stop_sequences.0: Input should be a valid string"),
    (parsed(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
    (parsed(thinking={**MANUAL, "budget_tokens": 100}), "thinking.enabled.budget_tokens: Input should be greater"),
    (parsed(thinking={**MANUAL, "budget_tokens": 2000}), "`max_tokens` must be greater than `thinking.budget_tokens`."),
    (
        parsed(thinking=MANUAL, tools=[TOOL], tool_choice={"type": "any"}),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (parsed(tool_choice={"type": "any"}), "tool_choice: may only be specified while providing `tools`"),
    (parsed(tools=[TOOL], tool_choice={"type": "tool", "name": "x"}), "Tool 'x' not found in provided tools"),
    (parsed(tools=[WAITING]), "tools: at least one tool must have defer_loading=false"),
    (
        parsed(*LATER, said("user", answered("a", [REFERENCE])), tools=[TOOL]),
        "Tool reference 'Nope' not found in available tools",
    ),
]


@pytest.mark.parametrize(("request_", "complaint"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_rule_is_told_in_the_apis_words(request_: MessagesRequest, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_rules(request_)
    assert refusal.value.message.startswith(complaint)


INLINE = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {**TOOL, "name": "Nope"}}}


@pytest.mark.parametrize(
    "request_",
    [
        parsed(USER, SYSTEM),
        parsed(USER, SYSTEM, ASSISTANT, USER, EFFORT),
        parsed(USER, SYSTEM, EFFORT, ASSISTANT),
        parsed(USER, EFFORT, USER),
        parsed(USER, ASSISTANT, EFFORT, USER),
        parsed(USER, said("assistant", FETCHED), SYSTEM),
        parsed(USER, said("assistant", text("\n\n"), used("a")), said("user", answered("a", ""))),
        parsed(USER, said("assistant", ""), USER),
        parsed(said("user", {"type": "hologram", "x": 1}), hologram=True),
        parsed(said("user", text("a", **MARK), text("b", **MARK)), system=[text("s", **MARK), text("t", **MARK)]),
        parsed(tools=[TOOL, WAITING, PLACEHOLDER]),
        parsed(tools=[PLACEHOLDER]),
        parsed(
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
            tool_choice={"type": "tool", "name": "web_search"},
        ),
        parsed(tools=[{"type": "computer_toolset_20260801"}], tool_choice={"type": "tool", "name": "click"}),
        parsed(thinking={"type": "adaptive"}, tools=[TOOL], tool_choice={"type": "any"}),
        parsed(thinking=MANUAL, max_tokens=0),
        parsed(thinking={"type": "telepathy"}, output_config={"effort": "superb"}),
        parsed(
            *LATER, said("user", answered("a", [REFERENCE])), tools=[{"type": "mcp_toolset", "mcp_server_name": "m"}]
        ),
        parsed(*LATER, said("user", answered("a", [REFERENCE])), said("system", INLINE), tools=[TOOL]),
        parsed(tool_choice={"type": "auto"}),
    ],
)
def test_what_clients_legitimately_send_is_taken(request_: MessagesRequest) -> None:
    check_rules(request_)


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_threads_are_refused_with_the_code_that_makes_the_sdk_send_everything(thread: Json) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        refuse_threads(parsed(thread=thread))
    assert refusal.value.details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_a_request_without_a_thread_is_not_refused() -> None:
    refuse_threads(parsed())
    refuse_threads(parsed(thread=None))


@pytest.mark.parametrize(
    ("choice", "normal"),
    [
        (None, None),
        ({"type": "auto"}, {"type": "auto"}),
        ({"type": "tool", "name": "a"}, {"type": "tool", "name": "a"}),
        ({"type": "function", "function": {"name": "a"}}, {"type": "tool", "name": "a"}),
        (
            {"type": "function", "function": {"name": "a"}, "disable_parallel_tool_use": True},
            {"type": "tool", "name": "a", "disable_parallel_tool_use": True},
        ),
        ({"type": "function", "name": "a"}, {"type": "tool", "name": "a"}),
        ({"type": "function"}, {"type": "function"}),
        ({"type": "function", "function": {"name": ""}}, {"type": "function", "function": {"name": ""}}),
        ({"type": "later"}, {"type": "later"}),
    ],
)
def test_an_old_wording_of_tool_choice_is_the_new_one(choice: Json | None, normal: Json | None) -> None:
    assert normalised_tool_choice(choice) == normal
