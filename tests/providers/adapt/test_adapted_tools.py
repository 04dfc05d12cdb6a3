"""Which tools an upstream is told of, and how deferred ones join them."""

import pytest
from adapt_support import Json, assistant, call, reduced, result, system, text, tool, user

from gateway.messages.errors import InvalidRequest
from gateway.providers.adapt import ANTHROPIC, AZURE, AZURE_HOSTED, CHAT, DATABRICKS, Capabilities

BASH, SEARCH = tool("Bash"), tool("ToolSearch")
DEPLOY, NOTIFY = tool("Deploy", defer_loading=True), tool("Notify", defer_loading=True)
PLACEHOLDER = tool("DeferredToolPlaceholder", defer_loading=True)
TOOLS = [DEPLOY, BASH, NOTIFY, SEARCH, PLACEHOLDER]
ASKED = [user("hi"), assistant(call("a", "ToolSearch"))]


def reference(name: str) -> Json:
    return {"type": "tool_reference", "tool_name": name}


def names(body: Json) -> list[str]:
    return [entry["name"] for entry in body["tools"]]


def test_deferred_tools_wait_for_a_reference() -> None:
    assert reduced(CHAT, tools=TOOLS)["tools"] == [BASH, SEARCH]
    assert reduced(AZURE, tools=TOOLS)["tools"] == TOOLS


def test_referenced_tools_join_at_the_end_in_order_of_their_first_reference() -> None:
    first = [*ASKED, user(result("a", [reference("Notify"), text("loaded")]))]
    body = reduced(CHAT, first, tools=TOOLS)
    assert body["tools"] == [BASH, SEARCH, tool("Notify")]
    assert body["messages"][2] == user(result("a", [text("The tool Notify is now available."), text("loaded")]))
    second = [*first, assistant(call("b", "ToolSearch")), user(result("b", [reference("Deploy")]))]
    assert names(reduced(CHAT, second, tools=TOOLS)) == ["Bash", "ToolSearch", "Notify", "Deploy"]


def test_the_apis_own_search_loads_tools_too() -> None:
    found = {"type": "tool_search_tool_search_result", "tool_references": [reference("Deploy")]}
    pair = [
        {"type": "server_tool_use", "id": "s", "name": "tool_search_tool_regex", "input": {"pattern": "dep"}},
        {"type": "tool_search_tool_result", "tool_use_id": "s", "content": found},
    ]
    searcher = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    body = reduced(CHAT, [user("hi"), assistant(*pair), user("go")], tools=[BASH, searcher, DEPLOY])
    assert names(body) == ["Bash", "Deploy"]
    assert "Deploy" in body["messages"][1]["content"][1]["text"]


def test_a_reference_to_no_tool_is_refused_in_the_apis_words() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        reduced(CHAT, [*ASKED, user(result("a", [reference("Nope")]))], tools=TOOLS)
    assert refusal.value.message == "Tool reference 'Nope' not found in available tools"
    assert refusal.value.details == {"error_code": "tool_reference_unresolved"}


def test_the_placeholder_is_never_offered() -> None:
    asked = [*ASKED, user(result("a", [reference("DeferredToolPlaceholder")]))]
    assert names(reduced(CHAT, asked, tools=TOOLS)) == ["Bash", "ToolSearch"]


def change(kind: str, **subject: object) -> Json:
    return {"type": kind, "tool": {"type": "tool_reference", **subject}}


def test_tools_come_and_go_between_the_turns() -> None:
    added = [user("hi"), system(change("tool_addition", name="Deploy"), "new"), assistant("ok"), user("x")]
    body = reduced(CHAT, added, tools=TOOLS)
    assert names(body) == ["Bash", "ToolSearch", "Deploy"]
    assert body["messages"][1] == user(text("<system-reminder>\nnew\n</system-reminder>"))
    removed = [*added, system(change("tool_removal", name="Deploy"), change("tool_removal", name="Bash"))]
    assert names(reduced(CHAT, removed, tools=TOOLS)) == ["ToolSearch"]
    back = [*removed, assistant("ok"), user("y"), system(change("tool_addition", name="Bash"))]
    assert names(reduced(CHAT, back, tools=TOOLS)) == ["Bash", "ToolSearch"]


def test_a_tool_defined_in_mid_conversation_is_appended() -> None:
    inline = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("Fresh")}}
    body = reduced(AZURE_HOSTED, [user("hi"), system(inline, "see")], tools=[BASH])
    assert body["tools"] == [BASH, tool("Fresh")]
    assert body["messages"] == [user("hi"), system("see") | {"content": [text("see")]}]


def test_a_list_of_waiting_tools_only_is_left_out_with_its_choice() -> None:
    body = reduced(CHAT, tools=[DEPLOY], tool_choice={"type": "any"})
    assert "tools" not in body
    assert "tool_choice" not in body


SERVER: list[Json] = [
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    {"type": "web_fetch_20260318", "name": "web_fetch"},
    {"type": "code_execution_20250825", "name": "code_execution"},
    {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
    {"type": "mcp_toolset", "mcp_server_name": "m"},
]
ADVISOR: Json = {"type": "advisor_20260301", "name": "advisor", "model": "x"}
COMPUTER: Json = {"type": "computer_toolset_20260801"}
CLIENT: list[Json] = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {"type": "memory_20250818", "name": "memory"},
    {"type": "computer_20251124", "name": "computer"},
]
NOVEL: Json = {"type": "telescope_20270101", "name": "telescope"}
EVERY: list[Json] = [BASH, *SERVER, ADVISOR, COMPUTER, *CLIENT, NOVEL]

OFFERED: list[tuple[Capabilities, list[Json]]] = [
    (ANTHROPIC, EVERY),
    (AZURE, [BASH, *SERVER, *CLIENT, NOVEL]),
    (AZURE_HOSTED, [BASH, *CLIENT, NOVEL]),
    (DATABRICKS, [BASH, *CLIENT]),
    (CHAT, [BASH, *CLIENT]),
]


@pytest.mark.parametrize(
    ("capabilities", "offered"), OFFERED, ids=["anthropic", "azure", "hosted", "databricks", "chat"]
)
def test_tools_that_only_another_upstream_can_run_are_left_out(capabilities: Capabilities, offered: list[Json]) -> None:
    assert reduced(capabilities, tools=EVERY)["tools"] == offered


CHOICES: list[tuple[list[Json], Json, Json | None]] = [
    ([BASH, *SERVER], {"type": "tool", "name": "web_search"}, {"type": "auto"}),
    (
        [BASH, *SERVER],
        {"type": "tool", "name": "web_search", "disable_parallel_tool_use": True},
        {"type": "auto", "disable_parallel_tool_use": True},
    ),
    ([BASH, *SERVER], {"type": "tool", "name": "Bash"}, {"type": "tool", "name": "Bash"}),
    ([BASH, *SERVER], {"type": "any"}, {"type": "any"}),
    (SERVER, {"type": "tool", "name": "web_search"}, None),
    (SERVER, {"type": "auto"}, None),
]


@pytest.mark.parametrize(("tools", "choice", "sent"), CHOICES)
def test_a_choice_never_outlives_its_tool(tools: list[Json], choice: Json, sent: Json | None) -> None:
    assert reduced(CHAT, tools=tools, tool_choice=choice).get("tool_choice") == sent


def test_optional_fields_of_lacking_features_go_from_tools_and_calls() -> None:
    rich = tool(
        "Bash",
        strict=True,
        allowed_callers=["direct"],
        input_examples=[{}],
        eager_input_streaming=True,
        defer_loading=False,
    )
    messages = [user("hi"), assistant(call("a", caller={"type": "direct"})), user(result("a"))]
    body = reduced(DATABRICKS, messages, tools=[rich])
    assert body["tools"] == [tool("Bash", strict=True)]
    assert body["messages"][1] == assistant(call("a"))
    assert reduced(AZURE, messages, tools=[rich])["tools"] == [rich]
