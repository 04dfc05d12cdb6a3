"""What the gateway accepts as a Messages request, and in which words it refuses the rest."""

import json
from typing import Any

import pytest

from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MAX_MESSAGES, MessagesRequest


def body(**fields: Any) -> bytes:
    whole = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


REFUSED = [
    (b"", "The request body is not valid JSON"),
    (b"{", "The request body is not valid JSON"),
    (b'{"model": "m"} x', "The request body is not valid JSON"),
    (b'{"model": "\xff"}', "The request body is not valid JSON"),
    (b'{"model": "\\ud83d"}', "The request body is not valid JSON"),
    (b'{"model": "\\udc00 tail"}', "The request body is not valid JSON"),
    (b"[]", "The request body should be a JSON object"),
    (b'"text"', "The request body should be a JSON object"),
    (body(model=...), "model: Field required"),
    (body(model=7), "model: Input should be a valid string"),
    (body(model=""), "model: String should have at least 1 character"),
    (body(max_tokens=...), "max_tokens: Field required"),
    (body(max_tokens="10"), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=True), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=1.5), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    (body(messages=...), "messages: Field required"),
    (body(messages={}), "messages: Input should be a valid list"),
    (body(messages=[]), "messages: at least one message is required"),
    (body(messages=["hi"]), "messages.0: Input should be a valid dictionary"),
    (body(messages=[{"content": "x"}]), "messages.0.role: Field required"),
    (body(messages=[{"role": "tool", "content": "x"}]), "messages.0.role: Input should be 'user', 'assistant'"),
    (body(messages=[{"role": ["user"], "content": "x"}]), "messages.0.role: Input should be"),
    (body(messages=[{"role": "assistant", "content": "x"}]), 'messages: first message must use the "user" role'),
    (body(messages=[{"role": "system", "content": "x"}]), 'messages: first message must use the "user" role'),
    (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    (body(messages=user(None)), "messages.0.content: Input should be a valid list"),
    (body(messages=user({"type": "text"})), "messages.0.content: Input should be a valid list"),
    (body(messages=user(["x"])), "messages.0.content.0: Input should be a valid dictionary"),
    (body(messages=user([{"text": "x"}])), "messages.0.content.0.type: Field required"),
    (body(messages=user([{"type": 1}])), "messages.0.content.0.type: Input should be a valid string"),
    (body(stream="true"), "stream: Input should be a valid boolean"),
    (body(stream=1), "stream: Input should be a valid boolean"),
    (body(stream=None), "stream: Input should be a valid boolean"),
    (body(system=5), "system: Input should be a valid list"),
    (body(system=[{"type": "image"}]), "system.0.type: Input should be 'text'"),
    (body(tools={}), "tools: Input should be a valid list"),
    (body(tools=[{}]), "tools.0.name: Field required"),
    (body(tools=[{"name": 3}]), "tools.0.name: Input should be a valid string"),
    (body(tools=[{"name": "a", "type": 3}]), "tools.0.type: Input should be a valid string"),
    (body(tools=[{"name": "a"}, {"name": "b"}, {"name": "a"}]), "tools: Tool names must be unique."),
    (body(tool_choice="auto"), "tool_choice: Input should be a valid dictionary"),
    (body(metadata=[]), "metadata: Input should be a valid dictionary"),
    (body(metadata={"user_id": 5}), "metadata.user_id: Input should be a valid string"),
]


@pytest.mark.parametrize(("sent", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_faulty_request_is_refused_with_the_place_and_the_apis_words(sent: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        MessagesRequest.parse(sent)
    assert refusal.value.message.startswith(message)
    assert (refusal.value.status, refusal.value.type) == (400, "invalid_request_error")


@pytest.mark.parametrize("levels", [250, 900, 100_000])
def test_deep_nesting_is_refused_wherever_it_stands_and_never_crashes(levels: int) -> None:
    deep = b"[" * levels + b"]" * levels
    deep_objects = b'{"a":' * levels + b"1" + b"}" * levels
    for nested in (deep, deep_objects):
        with pytest.raises(InvalidRequest, match="nests deeper"):
            MessagesRequest.parse(body()[:-1] + b', "extra": ' + nested + b"}")
        message = b'{"role":"user","content":[{"type":"x","deep":' + nested + b"}]}"
        with pytest.raises(InvalidRequest, match="nests deeper"):
            MessagesRequest.parse(b'{"model":"m","max_tokens":1,"messages":[' + message + b"]}")


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = '\\"[{' * 5000 + "\\\\"
    assert MessagesRequest.parse(body(messages=user(text))).messages[0].text == text


def test_more_messages_than_the_api_takes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"at most {MAX_MESSAGES} items"):
        MessagesRequest.parse(body(messages=user("x") * (MAX_MESSAGES + 1)))


def test_of_a_repeated_key_the_last_value_counts() -> None:
    sent = b'{"model":"a","max_tokens":1,"messages":[{"role":"user","content":"x"}],"model":"b"}'
    request = MessagesRequest.parse(sent)
    assert request.model == "b"
    assert json.loads(request.encode())["model"] == "b"


def test_the_gateway_sees_the_fields_it_needs_typed() -> None:
    request = MessagesRequest.parse(
        body(
            stream=True,
            system=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
            tools=[{"name": "Bash", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
            tool_choice={"type": "tool", "name": "Bash"},
            metadata={"user_id": "u"},
            messages=[
                {"role": "user", "content": "hi"},
                {"role": "system", "content": "be brief"},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": []},
                {"role": "system", "output_config": {"effort": "low"}},
            ],
        )
    )
    assert (request.model, request.max_tokens, request.stream, request.user_id) == ("m", 10, True, "u")
    assert request.system_text == "one\ntwo"
    assert [(tool.name, tool.type) for tool in request.tools] == [
        ("Bash", "custom"),
        ("web_search", "web_search_20250305"),
    ]
    assert request.tool_choice == {"type": "tool", "name": "Bash"}
    assert [message.role for message in request.messages] == ["user", "system", "assistant", "user", "system"]
    assert request.messages[2].text == "a\nb"
    assert request.messages[4].content == []
    assert list(request.messages[4].extra) == ["output_config"]


def test_unknown_fields_blocks_tools_and_roles_extras_are_no_error() -> None:
    request = MessagesRequest.parse(
        body(
            safeguards=[{"type": "x"}],
            thread={"type": "create"},
            temperature=0.5,
            tools=[{"type": "mcp_toolset", "mcp_server_name": "s"}, {"type": "mcp_toolset", "mcp_server_name": "t"}],
            messages=user([{"type": "hologram", "gateway": {"display_only": True}}]),
        )
    )
    assert request.messages[0].blocks[0].type == "hologram"
    assert request.messages[0].blocks[0].get("gateway") == {"display_only": True}
    assert [tool.name for tool in request.tools] == ["", ""]
    assert request.get("thread") == {"type": "create"}
    assert request.get("absent") is None


def test_a_count_tokens_request_needs_no_max_tokens() -> None:
    assert MessagesRequest.parse(body(max_tokens=...), counting=True).max_tokens == 0


def test_a_number_no_float_can_hold_is_a_faulty_block_when_somebody_looks_at_it() -> None:
    request = MessagesRequest.parse(
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"x","n":1e999}]}]}'
    )
    with pytest.raises(InvalidRequest, match=r"^messages\.0\.content\.0: "):
        _ = request.messages[0].blocks[0].data
