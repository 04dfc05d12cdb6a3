"""What the gateway does not change leaves it as it came, byte for byte."""

import pytest

from gateway.messages.blocks import Block, Message, Tool, text_block, tool_result, tool_use
from gateway.messages.jsonbytes import Raw, encode
from gateway.messages.request import MessagesRequest

ODD = [
    b'{"type":"text","text":"\\u00e9\\/\\u2028 \\ud83d\\ude00"}',
    b'{ "type" : "text" , "text" : "spaces" }',
    b'{"type":"tool_use","id":"t","name":"n","input":{"z":1.0,"a":1e2,"big":12345678901234567890123,"n":-0.0}}',
    b'{"text":"type comes last","type":"text"}',
    b'{"type":"never_seen","nested":{"b":[1,{"c":null}],"a":"x"}}',
    b'{"type":"thinking","thinking":"","signature":"EqQB+/=="}',
    b'{"type":"text","text":"a","cache_control":{"type":"ephemeral","scope":"global"}}',
]


def request_with(block: bytes) -> tuple[bytes, MessagesRequest]:
    sent = (
        b'{"future":{"x": 1.50},"max_tokens":1,"messages":[{"content":[' + block + b'],"role":"user","x":[ 1 ]}],'
        b'"model":"m","tools":[{"name":"T","input_schema":{"type":"object","b":1,"a":2},"defer_loading":true}]}'
    )
    return sent, MessagesRequest.parse(sent)


@pytest.mark.parametrize("block", ODD)
def test_an_untouched_request_is_encoded_as_it_came(block: bytes) -> None:
    sent, request = request_with(block)
    assert request.encode() == sent


@pytest.mark.parametrize("block", ODD)
def test_a_block_keeps_its_bytes_in_a_message_that_was_rebuilt(block: bytes) -> None:
    _, request = request_with(block)
    request.messages[0].blocks[0].get("type")  # looking does not change
    rebuilt = request.messages[0].with_content([*request.messages[0].blocks, text_block("more")])
    assert block in request.encode(messages=[rebuilt])
    assert b'"x":[ 1 ]' in request.encode(messages=[rebuilt])


def test_replaced_fields_stay_in_place_new_ones_come_last_and_dropped_ones_are_gone() -> None:
    _, request = request_with(ODD[0])
    encoded = request.encode(model="other", stream=True, drop=("tools",))
    assert encoded.startswith(b'{"future":{"x": 1.50},"max_tokens":1,"messages":[')
    assert encoded.endswith(b'"model":"other","stream":true}')
    assert b"tools" not in encoded


def test_tools_keep_their_bytes_beside_tools_of_our_own() -> None:
    sent, request = request_with(ODD[0])
    ours = Tool.of({"name": "workspace_git_status", "input_schema": {"type": "object"}})
    encoded = request.encode(tools=[*request.tools, ours])
    theirs = sent[sent.index(b'{"name":"T"') : -2]
    assert theirs + b',{"name":"workspace_git_status","input_schema":{"type":"object"}}]' in encoded


def test_replacing_one_field_of_a_block_leaves_the_bytes_of_the_others() -> None:
    block = Block.parse(Raw(b'{"a": 1.50,"type":"text","gateway":{"x":1},"text":"t"}'), "b")
    changed = block.replace(drop=("gateway",), text="new")
    assert bytes(changed.raw) == b'{"a":1.50,"type":"text","text":"new"}'
    assert (changed.type, changed.get("text")) == ("text", "new")
    assert block.get("gateway") == {"x": 1}


def test_our_own_blocks_have_the_apis_shape() -> None:
    result = tool_result("t1", [text_block("out")], is_error=True)
    assert tool_use("t1", "Bash", {"command": "ls"}).data == {
        "type": "tool_use",
        "id": "t1",
        "name": "Bash",
        "input": {"command": "ls"},
    }
    assert result.data == {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "out"}],
        "is_error": True,
    }
    assert "is_error" not in tool_result("t1", "fine").data
    assert encode(Message("user", [result])) == b'{"role":"user","content":[' + bytes(result.raw) + b"]}"


def test_text_that_no_utf8_can_hold_is_mended_and_not_fatal() -> None:
    assert text_block("cut \ud83d here").raw == Raw('{"type":"text","text":"cut � here"}'.encode())
    assert encode({"k\udc00": ["\ud800", text_block("kept")]}).decode().startswith('{"k�":["�",{"type"')


def test_equal_bytes_make_equal_blocks() -> None:
    assert text_block("a") == text_block("a")
    assert text_block("a") != text_block("b")
    assert len({text_block("a"), text_block("a")}) == 1
