"""Tool calls and their results: what the API takes and what it refuses."""

import pytest

from gateway.messages.blocks import Message, text_block, tool_result, tool_use
from gateway.messages.errors import InvalidRequest
from gateway.messages.pairing import check_pairing

USER = Message("user", "go")
CALL_A = tool_use("a", "Bash", {})
CALL_B = tool_use("b", "Bash", {})
RESULT_A = tool_result("a", "x")
RESULT_B = tool_result("b", "y")


GOOD = [
    [USER],
    [USER, Message("assistant", [CALL_A]), Message("user", [RESULT_A])],
    [USER, Message("assistant", [CALL_A, CALL_B]), Message("user", [RESULT_B, RESULT_A, text_block("and")])],
    [USER, Message("assistant", [CALL_A, CALL_B]), Message("user", [RESULT_B]), Message("user", [RESULT_A])],
    [USER, Message("assistant", [CALL_A]), Message("assistant", [CALL_B]), Message("user", [RESULT_A, RESULT_B])],
    [USER, Message("assistant", [CALL_A]), Message("user", [RESULT_A]), Message("system", "note")],
    [USER, Message("system", "note"), Message("assistant", [CALL_A]), Message("user", [RESULT_A])],
]


@pytest.mark.parametrize("messages", GOOD)
def test_paired_calls_pass(messages: list[Message]) -> None:
    check_pairing(messages)


UNANSWERED = "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: "
BAD = [
    ([USER, Message("assistant", [CALL_A])], UNANSWERED + "a. Each `tool_use` block must have"),
    ([USER, Message("assistant", [CALL_A]), Message("user", "no")], UNANSWERED + "a."),
    ([USER, Message("assistant", [CALL_A, CALL_B]), Message("user", [RESULT_A])], UNANSWERED + "b."),
    ([USER, Message("assistant", [CALL_A, CALL_B]), Message("user", "no")], UNANSWERED + "a, b."),
    ([USER, Message("assistant", [CALL_A]), Message("user", [text_block("first"), RESULT_A])], UNANSWERED + "a."),
    (
        [Message("user", [RESULT_A])],
        "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a. Each `tool_result` block",
    ),
    (
        [USER, Message("assistant", "done"), Message("user", [text_block("x"), RESULT_A])],
        "messages.2.content.1: unexpected `tool_use_id` found in `tool_result` blocks: a.",
    ),
    (
        [
            USER,
            Message("assistant", [CALL_A]),
            Message("user", [RESULT_A]),
            Message("assistant", "k"),
            Message("user", [RESULT_A]),
        ],
        "messages.4.content.0: unexpected `tool_use_id`",
    ),
    (
        [USER, Message("assistant", [CALL_A]), Message("user", [RESULT_A, RESULT_A])],
        "messages.2.content.1: each tool_use must have a single result.",
    ),
    ([USER, Message("assistant", [CALL_A, CALL_A])], "messages.1.content.1: `tool_use` ids must be unique"),
    ([Message("user", [CALL_A])], "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
    ([USER, Message("assistant", [RESULT_A])], "messages.1.content.0: `tool_result` blocks can only be in `user`"),
    ([USER, Message("assistant", [CALL_A.replace(id=5)])], "messages.1.content.0.tool_use.id: Field required"),
    ([Message("user", [RESULT_A.replace(drop=["tool_use_id"])])], "messages.0.content.0.tool_result.tool_use_id"),
]


@pytest.mark.parametrize(("messages", "complaint"), BAD, ids=[complaint for _, complaint in BAD])
def test_unpaired_calls_are_refused_in_the_apis_words(messages: list[Message], complaint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_pairing(messages)
    assert refusal.value.message.startswith(complaint)
