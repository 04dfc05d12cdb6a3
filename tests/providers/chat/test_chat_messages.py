"""What a Messages conversation becomes for a chat server: the traps of order, content and history."""

from dataclasses import replace
from typing import Any

import pytest
from chat_strictness import check_body
from conversations import (
    GENERIC,
    PNG,
    assistant,
    body_of,
    call,
    image,
    messages_of,
    result,
    text,
    tool,
    user,
)

from gateway.messages import foreign_signature
from gateway.messages.errors import InvalidRequest
from gateway.providers.chat import DIALECTS, dialect

CALLED = [user("go"), assistant(text("I look."), call("t1", command="ls"), call("t2", command="pwd"))]


def thinking(words: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def test_results_follow_their_calls_in_call_order_and_other_content_is_one_user_message_after_them() -> None:
    found = messages_of(*CALLED, user(result("t2", "two"), result("t1", "one"), text("and now?"), image()))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in found[2:4]] == ["one", "two"]
    assert [message["tool_call_id"] for message in found[2:4]] == ["t1", "t2"]
    assert [part["type"] for part in found[4]["content"]] == ["text", "image_url"]
    assert found[1]["content"] == "I look."


@pytest.mark.parametrize(
    "messages",
    [
        [*CALLED, user("never mind")],
        [*CALLED, user(result("t1", "x"))],
        [user("go"), assistant("hm"), user(result("t1", "x"))],
    ],
    ids=["no result", "one result missing", "a result without a call"],
)
def test_calls_and_results_that_do_not_pair_up_are_never_sent(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="tool_"):
        messages_of(*messages)


def test_neighbours_of_one_role_become_one_message() -> None:
    found = messages_of(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert [(message["role"], message["content"]) for message in found] == [
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


def test_an_image_in_a_result_moves_to_a_user_message_tagged_with_the_call() -> None:
    found = messages_of(*CALLED, user(result("t1", [text("a shot"), image()]), result("t2", [image()])))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool", "user"]
    assert found[2]["content"] == "a shot\n[Image 1 of this result follows in the next user message]"
    tags = [part["text"] for part in found[4]["content"] if part["type"] == "text"]
    assert tags == ["[Image 1 of the result of tool call t1:]", "[Image 1 of the result of tool call t2:]"]
    assert PNG not in str([message["content"] for message in found[:4]])


def test_a_server_that_takes_images_in_results_gets_them_there() -> None:
    messages = [user("go"), assistant(call("t1")), user(result("t1", [text("a shot"), image()]))]
    found = messages_of(*messages, dialect=dialect("llama.cpp", images_in_results=True))
    assert [part["type"] for part in found[-1]["content"]] == ["text", "image_url"]
    assert found[-1]["role"] == "tool"


def test_a_blind_model_is_told_where_images_stood_and_never_sees_their_bytes() -> None:
    found = messages_of(*CALLED, user(result("t1", [image()]), result("t2", "x"), image()), dialect="deepseek")
    assert PNG not in str(found)
    assert "image stood here" in found[2]["content"]
    assert "image stood here" in found[4]["content"]


def test_an_image_by_address_is_named_where_the_server_fetches_none() -> None:
    assert "https://example.test/a.png" in str(messages_of(user(text("see"), image("url")), dialect="ollama"))
    part = messages_of(user(text("see"), image("url")))[0]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}


def test_a_failed_result_says_so() -> None:
    found = messages_of(*CALLED, user(result("t1", "no such file", is_error=True), result("t2", is_error=True)))
    assert found[2]["content"] == "Error: no such file"
    assert found[3]["content"] == "Error: the tool failed."


@pytest.mark.parametrize("content", [None, "", [], [text(" ")]], ids=["absent", "string", "list", "blank"])
def test_an_empty_result_is_an_empty_string_or_the_servers_word_for_it(content: Any) -> None:
    messages = [user("go"), assistant(call("t1")), user(result("t1", content))]
    assert messages_of(*messages)[-1]["content"] == ""
    wordy = replace(GENERIC, empty_result="(nothing)")
    assert messages_of(*messages, dialect=wordy)[-1]["content"] == "(nothing)"


def test_blank_texts_and_turns_that_say_nothing_are_left_out() -> None:
    found = messages_of(user("a"), assistant(text("\n")), user(text(" "), text("b")))
    assert [(message["role"], message["content"]) for message in found] == [("user", "a\n\nb")]


def test_a_user_turn_without_anything_readable_still_stands() -> None:
    found = messages_of(user({"type": "from_the_future"}), assistant("a"), user(text(" ")))
    assert [message["role"] for message in found] == ["user", "assistant", "user"]
    assert all(message["content"] for message in found)


def test_text_documents_and_search_results_are_never_dropped() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "the body"}
    found = messages_of(
        user({"type": "document", "title": 'a "b"', "context": "c", "source": plain}, text("what?")),
        assistant(call("t1")),
        user(
            result(
                "t1",
                [
                    {"type": "search_result", "source": "https://s.test", "title": "T", "content": [text("found")]},
                    {"type": "document", "source": {"type": "content", "content": [text("inner")]}},
                ],
            )
        ),
    )
    assert found[0]["content"].startswith('<document title="a &quot;b&quot;" context="c">\nthe body\n</document>')
    assert found[0]["content"].endswith("what?")
    assert '<search_result source="https://s.test" title="T">\nfound\n</search_result>' in found[2]["content"]
    assert "inner" in found[2]["content"]


def test_a_pdf_goes_as_a_file_or_is_named_but_never_stringified() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}
    document = {"type": "document", "title": "paper", "source": pdf}
    part = messages_of(user(document))[0]["content"][0]
    assert part["file"] == {"filename": "paper.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}
    told = messages_of(user(document), dialect="vllm")[0]["content"]
    assert "paper" in told
    assert "JVBERi0xLjQK" not in told
    moved = messages_of(user("go"), assistant(call("t1")), user(result("t1", [document])))
    assert moved[-1]["content"][0]["text"] == "[File 1 of the result of tool call t1:]"
    assert moved[-1]["content"][1]["type"] == "file"


def test_a_reference_to_a_tool_is_told_in_words() -> None:
    reference = {"type": "tool_reference", "tool_name": "WebFetch"}
    found = messages_of(user("go"), assistant(call("t1")), user(result("t1", [reference, text("loaded")])))
    assert found[-1]["content"] == "[The tool WebFetch is now available.]\nloaded"


def test_the_system_prompt_is_joined_in_order_with_blank_lines() -> None:
    found = messages_of(user("hi"), system=[text("one", cache_control={"type": "ephemeral"}), text(" "), text("two")])
    assert found[0] == {"role": "system", "content": "one\n\ntwo"}


def test_cache_marks_stay_inside_content_where_the_server_knows_them() -> None:
    marked = text("one", cache_control={"type": "ephemeral", "ttl": "1h", "scope": "global"})
    found = messages_of(user(marked), system=[marked, text("two")], dialect="databricks-claude")
    assert found[0]["content"] == [
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "two"},
    ]
    assert found[1]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in str(messages_of(user(marked), dialect="databricks"))


MIDWAY = [
    user("go"),
    assistant(call("t1")),
    user(result("t1", "done")),
    {"role": "system", "content": "be brief"},
    assistant("ok"),
    user("more"),
]


def test_a_system_message_midway_keeps_its_place_after_the_results() -> None:
    found = messages_of(*MIDWAY)
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "system", "assistant", "user"]
    found = messages_of(*MIDWAY, dialect="vllm")
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "user", "assistant", "user"]
    assert found[3]["content"] == "<system-reminder>\nbe brief\n</system-reminder>"


def test_a_system_message_between_call_and_result_waits_for_the_result() -> None:
    messages = [user("go"), assistant(call("t1")), {"role": "system", "content": "wait"}, user(result("t1", "done"))]
    assert [message["role"] for message in messages_of(*messages)] == ["user", "assistant", "tool", "system"]


def test_a_system_message_inside_one_assistant_turn_does_not_part_call_and_result() -> None:
    entry = {"role": "system", "content": "wait"}
    found = messages_of(user("go"), assistant(call("t1")), entry, assistant("hm"), user(result("t1", "done")))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "system"]
    assert found[2]["content"] == "done"


def test_a_passing_system_message_is_gone_once_the_user_has_spoken() -> None:
    entry = {"role": "system", "content": "for now", "clear_at": "next_user_message"}
    assert "for now" in str(messages_of(user("a"), entry))
    assert "for now" not in str(messages_of(user("a"), entry, assistant("b"), user("c")))


def test_parallel_calls_are_split_into_pairs_where_the_server_wants_pairs() -> None:
    found = messages_of(*CALLED, user(result("t1", "one"), result("t2", "two")), dialect="databricks")
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [len(message.get("tool_calls", [])) for message in found] == [0, 1, 0, 1, 0]
    assert [found[1]["content"], found[3]["content"]] == ["I look.", None]


def test_claude_behind_the_same_server_keeps_parallel_calls_together() -> None:
    results = user(result("t1", "one"), result("t2", "two"))
    found = messages_of(*CALLED, results, dialect="databricks", model="databricks-claude-sonnet-4-5")
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool"]


def test_mistral_gets_an_assistant_between_results_and_a_user_message() -> None:
    messages = [user("go"), assistant(call("toolu_1")), user(result("toolu_1", "x"), text("and?"))]
    body = body_of(*messages, dialect="mistral")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    check_body(body, tool_id="[a-zA-Z0-9]{9}", after_tools=True)


def test_a_beginning_of_the_answer_is_continued_where_the_server_can() -> None:
    messages = [user("json please"), assistant("{")]
    assert messages_of(*messages, dialect="mistral")[-1] == {"role": "assistant", "content": "{", "prefix": True}
    body = body_of(*messages, dialect="vllm")
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def signed(model: str = "m", upstream: str = "up", **payload: Any) -> str:
    return foreign_signature.make(upstream, model, payload)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("deepseek", {"reasoning_content": "hm"}),
        ("ollama", {"reasoning": "hm"}),
        ("openrouter", {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        ("openai", {}),
    ],
)
def test_own_reasoning_goes_back_where_the_server_wants_it(server: str, expected: dict[str, Any]) -> None:
    block = thinking("hm", signed(details=[{"type": "reasoning.text", "text": "hm"}]))
    found = messages_of(user("go"), assistant(block, call("t1")), user(result("t1", "x")), dialect=server)
    kept = {name: value for name, value in found[1].items() if name.startswith("reasoning")}
    assert kept == expected


def test_databricks_reasoning_goes_back_in_the_content_with_its_signature() -> None:
    block = thinking("hm", signed(signature="sig"))
    found = messages_of(
        user("go"), assistant(block, text("so"), call("t1")), user(result("t1", "x")), dialect="databricks-claude"
    )
    assert found[1]["content"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "sig"}]},
        {"type": "text", "text": "so"},
    ]


@pytest.mark.parametrize(
    "signature",
    ["", "EqAB", signed(upstream="other"), signed(model="other"), "bh1.nonsense"],
    ids=["none", "Anthropic's", "another upstream", "another model", "broken"],
)
def test_reasoning_of_anybody_else_is_never_sent(signature: str) -> None:
    block = thinking("secret thoughts", signature)
    for server in DIALECTS:
        found = messages_of(user("go"), assistant(block, call("t1")), user(result("t1", "x")), dialect=server)
        assert "secret thoughts" not in str(found)


def test_reasoning_of_finished_turns_stays_away_where_it_is_only_wanted_in_a_loop() -> None:
    block = thinking("hm", signed())
    found = messages_of(user("a"), assistant(block, text("b")), user("c"), dialect="deepseek")
    assert "reasoning_content" not in found[1]


def test_text_cut_up_by_citations_is_put_together_again() -> None:
    cited = text("blue", citations=[{"type": "char_location"}])
    assert messages_of(user("a"), assistant(text("It is "), cited, text(".")), user("b"))[1]["content"] == "It is blue."


def test_long_descriptions_continue_in_the_system_prompt_where_the_server_limits_them() -> None:
    body = body_of(user("hi"), tools=[tool("Bash", description="x" * 3000)], dialect="azure-openai", system="be good")
    assert len(body["tools"][0]["function"]["description"]) == 1024
    assert body["messages"][0]["content"].startswith("be good\n\n# Tool Bash\n\nxxx")


@pytest.mark.parametrize("dialect", ["openai", "databricks", "generic", "llama.cpp"])
def test_a_server_that_would_not_go_on_from_a_beginning_is_asked_to(dialect: str) -> None:
    told = messages_of(user("a"), assistant("It is"), dialect=dialect)
    assert told[-2]["content"] == "It is"
    assert told[-1] == {
        "role": "user",
        "content": "Go on exactly where your last message ends, and repeat nothing of it.",
    }


@pytest.mark.parametrize(
    ("dialect", "last", "fields"),
    [
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("mistral", {"prefix": True}, {}),
        ("ollama", {}, {}),
    ],
)
def test_a_server_that_goes_on_from_a_beginning_gets_it_last(
    dialect: str, last: dict[str, Any], fields: dict[str, Any]
) -> None:
    body = body_of(user("a"), assistant("It is"), dialect=dialect)
    assert body["messages"][-1] == {"role": "assistant", "content": "It is", **last}
    assert fields.items() <= body.items()


def test_what_no_chat_server_can_be_shown_leaves_a_trace_in_a_result() -> None:
    found = messages_of(*CALLED, user(result("t1", [{"type": "browser_state", "url": "u"}]), result("t2", [text(" ")])))
    assert found[2]["content"] == "[A browser_state stood here that this model cannot read.]"
    assert found[3]["content"] == ""
