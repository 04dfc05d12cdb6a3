"""The fields of a chat request beside its messages: tools, names, ids, limits, reasoning, formats."""

import json
from typing import Any

import pytest
from chat_strictness import check_body
from conversations import assistant, body_of, call, chat, messages_of, result, text, tool, user

from gateway.providers.chat import DIALECTS, dialect

LONG = "mcp__" + "a_server_with_a_rather_long_name__" * 3 + "read"


def adaptive(**fields: Any) -> dict[str, Any]:
    return {"thinking": {"type": "adaptive"}, **fields}


def test_a_tool_keeps_its_schema_in_the_clients_order() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"b": {}, "a": {}}, "additionalProperties": False}
    body = body_of(user("hi"), tools=[tool(input_schema=schema), tool("Bare", input_schema={})])
    assert json.dumps(body["tools"][0]["function"]["parameters"]) == json.dumps(schema)
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}


def test_refused_schema_keywords_are_dropped_but_properties_of_that_name_stay() -> None:
    strict = dialect("generic", schema_drop=["$schema", "format", "additionalProperties"])
    schema = {
        "$schema": "x",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "format": {"type": "string", "format": "uri", "enum": ["format"]},
            "l": {"items": {"format": "x"}},
        },
    }
    body = body_of(user("hi"), tools=[tool(input_schema=schema)], dialect=strict)
    assert body["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"format": {"type": "string", "enum": ["format"]}, "l": {"items": {}}},
    }


@pytest.mark.parametrize(
    ("kind", "name", "properties"),
    [
        ("bash_20250124", "bash", {"command", "restart"}),
        ("text_editor_20250728", "str_replace_based_edit_tool", {"command", "path", "old_str", "insert_text"}),
        ("text_editor_20250124", "str_replace_editor", {"command", "path", "view_range"}),
        ("memory_20250818", "memory", {"command", "path", "old_path", "new_path"}),
        ("computer_20250124", "computer", {"action", "coordinate", "scroll_direction"}),
    ],
)
def test_client_tools_of_the_vendor_become_functions_with_their_schema(
    kind: str, name: str, properties: set[str]
) -> None:
    body = body_of(user("hi"), tools=[{"type": kind, "name": name, "display_width_px": 800, "display_height_px": 600}])
    function = body["tools"][0]["function"]
    assert function["name"] == name
    assert function["description"]
    assert properties <= function["parameters"]["properties"].keys()
    check_body(body)


def test_tools_that_only_the_api_can_run_are_not_offered() -> None:
    server = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    assert "tools" not in body_of(user("hi"), tools=[server])
    assert len(body_of(user("hi"), tools=[server, tool()])["tools"]) == 1


@pytest.mark.parametrize(
    ("server", "choice", "expected"),
    [
        ("openai", {"type": "auto"}, "auto"),
        ("openai", {"type": "any"}, "required"),
        ("openai", {"type": "none"}, "none"),
        ("openai", {"type": "tool", "name": "Read"}, {"type": "function", "function": {"name": "Read"}}),
        ("llama.cpp", {"type": "tool", "name": "Read"}, "required"),
        ("ollama", {"type": "any"}, None),
    ],
)
def test_tool_choice_in_the_servers_words(server: str, choice: dict[str, Any], expected: Any) -> None:
    body = body_of(user("hi"), tools=[tool(), tool("Read")], tool_choice=choice, dialect=server)
    assert body.get("tool_choice") == expected
    check_body(body)


def test_a_choice_that_cannot_be_said_is_made_by_what_is_offered() -> None:
    tools = [tool(), tool("Read")]
    named = body_of(user("hi"), tools=tools, tool_choice={"type": "tool", "name": "Read"}, dialect="ollama")
    assert [one["function"]["name"] for one in named["tools"]] == ["Read"]
    assert "tools" not in body_of(user("hi"), tools=tools, tool_choice={"type": "none"}, dialect="ollama")


@pytest.mark.parametrize(
    ("server", "disabled", "expected"),
    [("openai", True, False), ("openai", False, None), ("llama.cpp", False, True), ("ollama", True, None)],
)
def test_parallel_calls_are_switched_where_the_server_has_a_switch(server: str, disabled: bool, expected: Any) -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": disabled}
    made = chat(user("hi"), tools=[tool()], tool_choice=choice, dialect=server)
    assert made.fields.get("parallel_tool_calls") is expected
    assert made.reading.one_call is disabled


def test_long_names_are_shortened_and_found_again() -> None:
    other = LONG[:-1] + "x"
    made = chat(
        user("go"), assistant(call("t1", LONG)), user(result("t1", "x")), tools=[tool(LONG), tool(other), tool("a.b")]
    )
    check_body(made.fields)
    sent = [one["function"]["name"] for one in made.fields["tools"]]
    assert len({*sent}) == 3
    assert [made.reading.names.inward(name) for name in sent] == [LONG, other, "a.b"]
    assert made.fields["messages"][1]["tool_calls"][0]["function"]["name"] == sent[0]


def test_the_same_conversation_gives_the_same_bytes() -> None:
    turns = [user("go"), assistant(call("toolu_01A", LONG)), user(result("toolu_01A", "x"))]
    made = [chat(*turns, tools=[tool(LONG)], dialect="mistral").encode() for _ in range(2)]
    assert made[0] == made[1]


def test_ids_outside_the_servers_pattern_are_replaced_in_call_and_result_alike() -> None:
    found = messages_of(user("go"), assistant(call("toolu_01ABC")), user(result("toolu_01ABC", "x")), dialect="mistral")
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"]
    assert len(found[2]["tool_call_id"]) == 9


@pytest.mark.parametrize("own", ["call_1", "functions.Bash:0", "chatcmpl-tool-1", "späth 😀"])
def test_an_upstreams_id_comes_back_to_it_as_it_was(own: str) -> None:
    ids = chat(user("hi"), dialect=dialect("generic", tool_id=r".{1,64}")).reading.ids
    ours = ids.inward(own)
    assert ours.replace("-", "_").isascii()
    assert ours.replace("-", "_").replace("_", "a").isalnum()
    assert ids.outward(ours) == own


def test_an_id_that_the_conversation_already_has_is_given_anew() -> None:
    turns = [user("go"), assistant(call("call_0")), user(result("call_0", "x"))]
    ids = chat(*turns).reading.ids
    assert ids.inward("call_0") != "call_0"
    assert ids.inward("") != ids.inward("")


@pytest.mark.parametrize(
    ("server", "asked", "name", "sent"),
    [
        ("openai", 128_000, "max_completion_tokens", 128_000),
        ("vllm", 128_000, "max_tokens", 128_000),
        ("generic", 0, "max_tokens", 1),
    ],
)
def test_the_limit_of_the_answer(server: str, asked: int, name: str, sent: int) -> None:
    assert body_of(user("hi"), max_tokens=asked, dialect=server)[name] == sent


def test_a_limit_beyond_the_models_is_cut_down_not_refused() -> None:
    body = body_of(user("hi"), max_tokens=128_000, dialect=dialect("databricks", max_output_tokens=8192))
    assert body["max_tokens"] == 8192


def test_four_stop_sequences_are_sent_and_the_rest_enforced_here() -> None:
    made = chat(user("hi"), stop_sequences=["a", "b", "c", "d", "e", "e", "f"])
    assert made.fields["stop"] == ["a", "b", "c", "d"]
    assert made.reading.enforced == ("e", "f")


def test_sampling_goes_on_where_the_model_takes_it() -> None:
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 40}
    assert body_of(user("hi"), dialect="vllm", **wanted).items() >= wanted.items()
    assert "top_k" not in body_of(user("hi"), dialect="openai", model="gpt-4o", **wanted)
    assert not wanted.keys() & body_of(user("hi"), dialect="openai", model="gpt-5.1", **wanted).keys()
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 8000}
    claude = body_of(
        user("hi"), dialect="databricks-claude", model="databricks-claude-3-7-sonnet", **wanted, **thinking
    )
    assert "temperature" not in claude


@pytest.mark.parametrize(
    ("server", "model", "fields", "expected"),
    [
        ("openai", "gpt-5", adaptive(output_config={"effort": "medium"}), {"reasoning_effort": "medium"}),
        ("openai", "gpt-5", adaptive(output_config={"effort": "max"}), {"reasoning_effort": "high"}),
        ("openai", "gpt-5", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning_effort": "low"}),
        ("openai", "gpt-4o", adaptive(output_config={"effort": "high"}), {}),
        ("generic", "x", adaptive(output_config={"effort": "high"}), {}),
        ("deepseek", "x", adaptive(), {"thinking": {"type": "enabled"}}),
        ("deepseek", "x", {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ("vllm", "qwen3", {"thinking": {"type": "disabled"}}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", "mistral-small", adaptive(), {}),
        ("openrouter", "x", adaptive(output_config={"effort": "xhigh"}), {"reasoning": {"effort": "xhigh"}}),
        ("openrouter", "x", {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
        (
            "databricks",
            "databricks-claude-3-7-sonnet",
            {"thinking": {"type": "enabled", "budget_tokens": 31999}, "max_tokens": 8000},
            {"thinking": {"type": "enabled", "budget_tokens": 6976}},
        ),
        (
            "databricks",
            "databricks-claude-opus-4-6",
            adaptive(output_config={"effort": "high"}),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            "databricks-claude",
            "my-endpoint",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": [tool()], "tool_choice": {"type": "any"}},
            {},
        ),
    ],
)
def test_reasoning_is_asked_for_in_the_servers_way(
    server: str, model: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = body_of(user("hi"), dialect=server, model=model, **fields)
    asked = {"reasoning_effort", "thinking", "chat_template_kwargs", "reasoning", "output_config"}
    assert {name: value for name, value in body.items() if name in asked} == expected


def test_the_last_effort_that_a_system_message_sets_is_the_requests() -> None:
    entry = {"role": "system", "output_config": {"effort": "low"}}
    body = body_of(user("hi"), entry, dialect="openai", model="gpt-5", output_config={"effort": "high"})
    assert body["reasoning_effort"] == "low"
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_reasoning_is_off_inside_a_loop_whose_reasoning_is_gone() -> None:
    loop = [user("go"), assistant(call("t1")), user(result("t1", "x"))]
    body = body_of(*loop, dialect="deepseek", thinking={"type": "adaptive"})
    assert body["thinking"] == {"type": "disabled"}
    body = body_of(
        *loop, dialect="databricks-claude", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=9000
    )
    assert "thinking" not in body


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
FORMAT: dict[str, Any] = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}


def test_a_wanted_format_goes_by_schema_strict_only_where_that_is_allowed() -> None:
    sent = body_of(user("hi"), **FORMAT)["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    loose: dict[str, Any] = {"output_config": {"format": {"type": "json_schema", "schema": {**SCHEMA, "required": []}}}}
    assert body_of(user("hi"), **loose)["response_format"]["json_schema"]["strict"] is False


def test_a_wanted_format_is_said_in_words_to_servers_without_schemas() -> None:
    body = body_of(user("hi"), dialect="deepseek", **FORMAT)
    assert body["response_format"] == {"type": "json_object"}
    assert '"additionalProperties":false' in body["messages"][0]["content"]


def test_a_wanted_format_is_a_forced_call_for_claude_behind_databricks() -> None:
    made = chat(user("hi"), dialect="databricks-claude", **FORMAT)
    assert made.fields["tool_choice"]["function"]["name"] == made.reading.json_tool
    assert made.fields["tools"][0]["function"]["parameters"] == SCHEMA
    with_tools = chat(user("hi"), dialect="databricks-claude", tools=[tool()], **FORMAT)
    assert with_tools.reading.json_tool is None
    assert "JSON Schema" in with_tools.fields["messages"][0]["content"]


def test_an_answer_that_cannot_be_streamed_is_asked_for_whole() -> None:
    made = chat(user("hi"), dialect="databricks", **FORMAT)
    assert made.fields["stream"] is False
    assert made.streams is False
    assert "stream_options" not in made.fields


def test_usage_is_asked_for_where_it_does_not_come_unasked() -> None:
    assert body_of(user("hi"))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body_of(user("hi"), dialect="mistral")


def test_nothing_personal_or_unknown_is_sent() -> None:
    body = body_of(user("hi"), metadata={"user_id": "me"}, service_tier="auto", speed="fast", context_management={})
    assert body.keys() == {"model", "messages", "max_completion_tokens", "stream", "stream_options"}


def test_tools_of_the_history_are_declared_where_the_server_needs_them() -> None:
    loop = [user("go"), assistant(call("t1")), user(result("t1", "x"))]
    assert body_of(*loop, dialect="databricks-claude")["tools"][0]["function"]["name"] == "Bash"
    assert "tools" not in body_of(*loop, dialect="vllm")


def test_every_dialect_makes_a_body_that_a_strict_server_takes() -> None:
    turns = [
        user(text("go"), text("on")),
        assistant(text("I look."), call("toolu_1", command="ls"), call("toolu_2", LONG)),
        user(result("toolu_1", ""), result("toolu_2", [text("two")], is_error=True), text("and?")),
    ]
    for name, one in DIALECTS.items():
        for model in ("m", "claude-sonnet-4-5", "mistral-large", "gpt-5"):
            flags = one.for_model(model)
            body = body_of(*turns, dialect=name, model=model, tools=[tool(), tool(LONG)], stop_sequences=["x"])
            check_body(body, tool_id=flags.tool_id, after_tools=flags.after_results is not None)


@pytest.mark.parametrize(("name", "flags"), [("nobody", {}), ("vllm", {"no_such_flag": 1})])
def test_a_name_or_flag_that_does_not_exist_is_refused(name: str, flags: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="dialect"):
        dialect(name, **flags)


def test_configured_flags_stand_over_those_of_single_models() -> None:
    assert dialect("openai", sampling=True).for_model("gpt-5").sampling is True
    assert dialect("openai").for_model("gpt-5").sampling is False
