"""What becomes of system prompts, system messages, server tools, thinking and summaries in a conversation."""

from typing import Any

import pytest
from adapt_support import (
    MODEL,
    Json,
    assistant,
    body_of,
    call,
    foreign,
    reduced,
    request,
    result,
    searched,
    system,
    text,
    thinking,
    user,
)

from gateway.messages.errors import ApiError, InvalidRequest
from gateway.providers.adapt import ANTHROPIC, AZURE, AZURE_HOSTED, CHAT, DATABRICKS, Capabilities, adapt

BILLING = text("x-anthropic-billing-header: cc_version=2.1.197.abc; cc_entrypoint=cli;")


def test_the_billing_line_is_for_anthropic_only() -> None:
    prompt = [BILLING, text("You are"), text("Rules")]
    assert reduced(ANTHROPIC, system=prompt)["system"] == prompt
    for capabilities in (AZURE, DATABRICKS, CHAT):
        assert reduced(capabilities, system=prompt)["system"] == prompt[1:]
        assert "system" not in reduced(capabilities, system=[BILLING])


def test_a_prompt_of_the_users_own_about_billing_stays() -> None:
    assert reduced(CHAT, system=BILLING["text"])["system"] == BILLING["text"]
    assert reduced(CHAT, system=[text("a"), BILLING])["system"] == [text("a"), BILLING]


def told(words: str) -> Json:
    return user(text(f"<system-reminder>\n{words}\n</system-reminder>"))


def test_a_system_message_becomes_a_tagged_user_text_in_its_place() -> None:
    messages = [user("hi"), system("be brief"), assistant("ok"), user("more")]
    assert reduced(DATABRICKS, messages)["messages"] == [user("hi"), told("be brief"), assistant("ok"), user("more")]
    assert reduced(AZURE, messages)["messages"] == messages


def test_a_system_message_never_parts_results_from_their_calls() -> None:
    messages = [user("hi"), assistant(call("a"), call("b")), user(result("a")), system("note"), user(result("b"))]
    assert reduced(CHAT, messages)["messages"] == [*messages[:3], messages[4], told("note")]


def test_a_text_that_is_tagged_already_is_not_tagged_again_and_keeps_its_cache_mark() -> None:
    block = text("<system-reminder>x</system-reminder>", cache_control={"type": "ephemeral"})
    assert reduced(CHAT, [user("hi"), system(block)])["messages"][1] == user(block)


def test_the_last_effort_of_system_messages_counts() -> None:
    messages = [
        user("hi"),
        system(output_config={"effort": "low"}),
        assistant("a"),
        user("b"),
        system("c", output_config={"effort": "max"}),
    ]
    body = reduced(CHAT, messages, output_config={"effort": "medium", "format": {"type": "json_schema"}})
    assert body["output_config"] == {"effort": "max", "format": {"type": "json_schema"}}
    assert body["messages"] == [user("hi"), assistant("a"), user("b"), told("c")]


def test_a_system_message_ends_where_it_said() -> None:
    passing = system("for now", clear_at="next_user_message", output_config={"effort": "low"})
    lasting = system("for good", clear_at="never")
    loop = [user("hi"), passing, assistant(call("a")), user(result("a"))]
    assert told("for now") in reduced(CHAT, loop)["messages"]
    later = reduced(CHAT, [*loop, assistant("ok"), user("next"), lasting, assistant("ok"), user("last")])
    assert told("for now") not in later["messages"]
    assert told("for good") in later["messages"]
    assert "output_config" not in later


def test_a_search_of_the_apis_own_is_retold_where_it_stood() -> None:
    messages = [user("hi"), assistant("Let me look.", *searched("s1"), "It rains."), user("thanks")]
    assert reduced(ANTHROPIC, messages)["messages"] == messages
    assert reduced(AZURE, messages)["messages"] == messages
    blocks = reduced(CHAT, messages)["messages"][1]["content"]
    assert blocks == [
        text("Let me look."),
        text('[Called web_search with {"query":"weather"}]'),
        text("[Result of web_search]\n- A page: https://a.example/\n[End of result]"),
        text("It rains."),
    ]


RETOLD: list[tuple[Json, str]] = [
    (
        {"type": "bash_code_execution_tool_result", "content": {"type": "r", "stdout": "12 passed", "return_code": 0}},
        '[Result of bash_code_execution]\n{"type":"r","stdout":"12 passed","return_code":0}\n[End of result]',
    ),
    (
        {"type": "web_fetch_tool_result", "content": {"type": "web_fetch_tool_result_error", "error_code": "x"}},
        '[Result of web_fetch]\n{"type":"web_fetch_tool_result_error","error_code":"x"}\n[End of result]',
    ),
    (
        {
            "type": "web_fetch_tool_result",
            "content": {
                "type": "web_fetch_result",
                "url": "https://a.example",
                "content": {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}},
            },
        },
        "[Result of web_fetch]\nhttps://a.example:\nT\nwords\n[End of result]",
    ),
    (
        {
            "type": "web_fetch_tool_result",
            "content": {
                "type": "web_fetch_result",
                "url": "u",
                "content": {"type": "document", "source": {"type": "base64", "data": "JVBER"}},
            },
        },
        "[Result of web_fetch]\nu:\n(a document that is not text)\n[End of result]",
    ),
    (
        {"type": "mcp_tool_use", "server_name": "crm", "name": "find", "input": {"q": 1}},
        '[Called crm/find with {"q":1}]',
    ),
    (
        {"type": "mcp_tool_result", "is_error": True, "content": [text("no such row")]},
        "[Result of mcp failed]\nno such row\n[End of result]",
    ),
    (
        {"type": "code_execution_tool_result", "content": {"encrypted_stdout": "Zm9v", "stderr": ""}},
        '[Result of code_execution]\n{"encrypted_stdout":"(not readable)","stderr":""}\n[End of result]',
    ),
    (
        {"type": "web_search_tool_result", "content": []},
        "[Result of web_search]\n(nothing)\n[End of result]",
    ),
    (
        {"type": "server_tool_use", "name": "something_new", "input": {}},
        "[Called something_new with {}]",
    ),
]


@pytest.mark.parametrize(("block", "words"), RETOLD, ids=[words[:40] for _, words in RETOLD])
def test_every_kind_of_server_block_becomes_readable_text(block: Json, words: str) -> None:
    assert reduced(CHAT, [user("hi"), assistant(block)])["messages"][1] == assistant(text(words))


def test_citations_of_a_search_go_with_the_search_and_others_stay() -> None:
    search, place = {"type": "web_search_result_location", "url": "u"}, {"type": "char_location", "document_index": 0}
    messages = [user("hi"), assistant(text("a", citations=[search]), text("b", citations=[search, place]))]
    assert reduced(CHAT, messages)["messages"][1] == assistant(text("a"), text("b", citations=[place]))
    assert reduced(AZURE, messages)["messages"] == messages


def test_unknown_block_types_are_never_touched() -> None:
    messages = [user({"type": "hologram", "x": 1}), assistant({"type": "hologram", "y": [1]})]
    assert reduced(CHAT, messages)["messages"] == messages


KEPT: list[tuple[Capabilities, Json, bool]] = [
    (ANTHROPIC, thinking(), True),
    (ANTHROPIC, thinking("a", ""), True),
    (ANTHROPIC, foreign(), False),
    (ANTHROPIC, foreign("other"), False),
    (ANTHROPIC, thinking("a", "bh1.!!!"), False),
    (AZURE, thinking(), True),
    (AZURE, {"type": "redacted_thinking", "data": "x"}, True),
    (AZURE, thinking("a", ""), False),
    (AZURE, {"type": "thinking", "thinking": "a"}, False),
    (AZURE, foreign(), False),
    (DATABRICKS, thinking(), True),
    (CHAT, thinking(), False),
    (CHAT, {"type": "redacted_thinking", "data": "x"}, False),
    (CHAT, foreign(), True),
    (CHAT, foreign("other"), False),
    (CHAT, foreign(model="other"), False),
]


@pytest.mark.parametrize(("capabilities", "block", "kept"), KEPT)
def test_thinking_goes_back_only_to_who_can_vouch_for_it(capabilities: Capabilities, block: Json, kept: bool) -> None:
    body = reduced(capabilities, [user("hi"), assistant(block, "so"), user("on")])
    assert body["messages"][1]["content"] == ([block] if kept else []) + [text("so")]


def test_own_thinking_is_measured_by_the_upstreams_name_of_the_model() -> None:
    sent = request([user("hi"), assistant(foreign(model="qwen3"), "so"), user("on")], model="qwen3")
    body = body_of(adapt(sent, CHAT, upstream="vllm"))
    assert body["model"] == "qwen3"
    assert body["messages"][1]["content"][0]["type"] == "thinking"


def test_an_answer_of_nothing_but_lost_thinking_is_left_out() -> None:
    messages = [user("hi"), assistant(foreign()), user("on")]
    assert reduced(ANTHROPIC, messages)["messages"] == [user("hi"), user("on")]


def test_a_manual_budget_is_given_up_where_the_open_call_lost_its_thinking() -> None:
    loop = [user("hi"), assistant(foreign(), call("a")), user(result("a"))]
    clear = {"type": "clear_thinking_20251015", "keep": "all"}
    uses = {"type": "clear_tool_uses_20250919"}
    fields: Json = {
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "context_management": {"edits": [clear, uses]},
    }
    body = reduced(ANTHROPIC, loop, **fields)
    assert "thinking" not in body
    assert body["context_management"] == {"edits": [uses]}
    closed = reduced(ANTHROPIC, [*loop, assistant(thinking(), "done"), user("more")], **fields)
    assert closed["thinking"] == fields["thinking"]
    adaptive = reduced(ANTHROPIC, loop, thinking={"type": "adaptive"})
    assert adaptive["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize("answer", [assistant(" "), assistant(foreign()), assistant(text("\n"), thinking("", ""))])
def test_an_answer_of_nothing_stays_where_a_system_message_needs_one(answer: Json) -> None:
    messages = [user("hi"), system("be brief"), answer, user("more")]
    silent = assistant(text("(no content)"))
    assert reduced(AZURE, messages)["messages"] == [user("hi"), system("be brief"), silent, user("more")]
    assert reduced(AZURE, [user("hi"), answer, user("more")])["messages"] == [user("hi"), user("more")]


def test_blank_assistant_texts_are_left_out_for_upstreams_that_refuse_them() -> None:
    messages = [user("hi"), assistant(text("\n\n"), call("a")), user(result("a")), assistant("  "), user("more")]
    assert reduced(ANTHROPIC, messages)["messages"] == messages
    assert reduced(AZURE, messages)["messages"] == [user("hi"), assistant(call("a")), user(result("a")), user("more")]


def summary(content: Any) -> Json:
    return {"type": "compaction", "content": content, "encrypted_content": "x"}


SUMMED = user(text("<conversation-summary>\nall so far\n</conversation-summary>"))


def test_a_summary_stands_for_everything_before_it() -> None:
    messages = [
        user("one"),
        assistant(summary("older"), call("a")),
        user(result("a")),
        assistant(summary("all so far"), "and", call("b")),
        user(result("b")),
    ]
    assert reduced(ANTHROPIC, messages)["messages"] == messages
    assert reduced(CHAT, messages)["messages"] == [SUMMED, assistant(text("and"), call("b")), user(result("b"))]


def test_a_failed_summary_changes_nothing_else() -> None:
    messages = [user("one"), assistant(summary(None), "and"), user("two")]
    assert reduced(CHAT, messages)["messages"] == [user("one"), assistant(text("and")), user("two")]


def test_a_summary_alone_leaves_what_the_user_said_next() -> None:
    messages = [user("one"), assistant(summary([text("all so far")])), user("two")]
    assert reduced(CHAT, messages)["messages"] == [SUMMED, user("two")]


def test_a_result_whose_call_was_summed_up_is_told_as_text() -> None:
    messages = [user("one"), assistant(call("a"), summary("all so far"), call("b")), user(result("a"), result("b"))]
    assert reduced(CHAT, messages)["messages"] == [
        SUMMED,
        assistant(call("b")),
        user(result("b"), text("<earlier-tool-result>\ndone\n</earlier-tool-result>")),
    ]


IMAGE_BY_URL = {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}
PDF_BY_FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
UPLOAD = {"type": "container_upload", "file_id": "file_1"}

REFUSED: list[tuple[Capabilities, list[Json], str]] = [
    (DATABRICKS, [user(IMAGE_BY_URL)], "messages.0.content.0.source.type: url sources are not supported"),
    (CHAT, [user("see", PDF_BY_FILE)], "messages.0.content.1.source.type: file sources are not supported"),
    (
        AZURE_HOSTED,
        [user("x"), assistant(call("a")), user(result("a", [text("t"), PDF_BY_FILE]))],
        "messages.2.content.0.tool_result.content.1.source.type: file sources",
    ),
    (CHAT, [user(UPLOAD)], "messages.0.content.0: container_upload blocks are not supported"),
]


@pytest.mark.parametrize(("capabilities", "messages", "complaint"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_the_model_could_not_see_is_refused_with_its_place(
    capabilities: Capabilities, messages: list[Json], complaint: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        reduced(capabilities, messages)
    assert refusal.value.message.startswith(complaint)


def test_sources_that_an_upstream_takes_stay() -> None:
    messages = [user(IMAGE_BY_URL, PDF_BY_FILE, UPLOAD)]
    assert reduced(AZURE, messages)["messages"] == messages
    assert reduced(CHAT, [user(IMAGE_BY_URL)])["messages"] == [user(IMAGE_BY_URL)]


def test_threads_are_refused_so_that_the_sdk_sends_everything() -> None:
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        with pytest.raises(ApiError) as refusal:
            reduced(CHAT, thread=thread)
        assert refusal.value.status == 400
        assert refusal.value.details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert reduced(ANTHROPIC, thread=thread)["thread"] == thread


def test_safeguards_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="safeguards"):
        reduced(AZURE, safeguards=[{"type": "dangerous_tool_use"}])
    assert "safeguards" in reduced(ANTHROPIC, safeguards=[{"type": "dangerous_tool_use"}])


def test_what_is_not_changed_keeps_its_very_bytes() -> None:
    raw = b'{ "model":"%s", "max_tokens": 5,"messages":[ {"role":"user","content": "h\\u00e9" ,"x":1.0} ]}' % (
        MODEL.encode()
    )
    for capabilities in (ANTHROPIC, AZURE, DATABRICKS):
        sent = request()
        adapted = adapt(type(sent)(raw), capabilities, upstream="u")
        assert adapted.body == raw
    changed = raw.replace(b'{ "model"', b'{"metadata":{"user_id":"u"}, "model"')
    adapted = adapt(type(request())(changed), AZURE, upstream="u")
    assert b'[ {"role":"user","content": "h\\u00e9" ,"x":1.0} ]' in adapted.body
