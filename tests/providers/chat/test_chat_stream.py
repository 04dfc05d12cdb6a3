"""What chunks of a chat answer become: the traps of streams, calls, reasoning, usage and ends."""

import json
from typing import Any

import pytest
from conversations import answer, assembled, calls, chat, delta, fragment, reading, run, tool, usage, user

from gateway.messages import foreign_signature
from gateway.providers.base import UpstreamBroken, UpstreamError
from gateway.providers.chat import ChatStream, dialect

FIRST = delta(role="assistant", content="")
DONE = delta("stop")


def inputs(message: dict[str, Any]) -> list[Any]:
    return [block["input"] for block in message["content"] if block["type"] == "tool_use"]


def texts(message: dict[str, Any]) -> list[str]:
    return [block["text"] for block in message["content"] if block["type"] == "text"]


def broken(*chunks: dict[str, Any], clean: bool = True) -> Exception:
    with pytest.raises((UpstreamBroken, UpstreamError)) as caught:
        run(*chunks, clean=clean)
    return caught.value


def test_text_streams_as_it_comes() -> None:
    events = run(FIRST, delta(content="Hel"), delta(content="lo"), DONE, usage())
    names = [event.name for event in events]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].data["message"]["id"].startswith("msg_")


def test_what_the_first_chunk_carries_is_kept() -> None:
    message = answer(delta(role="assistant", content="Hi", reasoning_content="hm"), DONE)
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]


def test_interleaved_calls_come_one_after_the_other_with_their_own_arguments() -> None:
    events = run(
        calls(fragment(0, "a", "Bash", "")),
        calls(fragment(1, "b", "Read", "")),
        calls(fragment(0, args='{"command":')),
        calls(fragment(1, args='{"path":'), fragment(0, args='"ls"')),
        calls(fragment(1, args='"/x"}'), fragment(0, args="}")),
        delta("tool_calls"),
    )
    kinds = [event.name for event in events if event.name.startswith("content_block_st")]
    assert kinds == ["content_block_start", "content_block_stop"] * 2
    message = assembled(events)
    assert inputs(message) == [{"command": "ls"}, {"path": "/x"}]
    assert [block["id"] for block in message["content"]] == ["a", "b"]
    assert message["stop_reason"] == "tool_use"


def test_the_first_call_streams_live_while_others_wait() -> None:
    stream = ChatStream(reading())
    stream.feed(calls(fragment(0, "a", "Bash", '{"command":')))
    assert stream.feed(calls(fragment(1, "b", "Read", '{"path":"/x"}'))) == []
    live = stream.feed(calls(fragment(0, args='"ls"')))
    assert [event.data["delta"] for event in live] == [{"type": "input_json_delta", "partial_json": '"ls"'}]
    after = stream.feed(calls(fragment(0, args="}"), fragment(2, "c", "Grep", "")))
    assert [event.data["index"] for event in after if event.name == "content_block_start"] == [1]


@pytest.mark.parametrize(
    "chunks",
    [
        [
            fragment(None, "a", "Bash", '{"command":'),
            fragment(None, "a", None, '"ls"}'),
            fragment(None, "b", "Read", "{}"),
        ],
        [
            fragment(None, None, "Bash", '{"command":'),
            fragment(None, None, None, '"ls"}'),
            fragment(None, None, "Read"),
        ],
        [fragment(0, "a", "Bash", '{"command":'), fragment(0, "a", "Bash", '"ls"}'), fragment(1, "b", "Read", "{}")],
        [
            fragment(0, "a", "Ba"),
            fragment(0, None, "sh"),
            fragment(0, args='{"command":"ls"}'),
            fragment(1, "b", "Read"),
        ],
        [fragment(None, "a", "Ba"), fragment(None, None, "sh", '{"command":"ls"}'), fragment(None, "b", "Read", "{}")],
        [fragment(0, "a", "Bash", '{"command":"ls"}'), fragment(0, "b", "Read", "{}")],
        [fragment(0, None, "Bash", '{"command":"ls"}'), fragment(0, None, "Read", "{}")],
        [fragment(0, "a", "Bash", {"command": "ls"}), fragment(1, "b", "Read", {})],
        [fragment(0, "a", "Bash", '{"command"'), fragment(0, "x", "Bash", ':"ls"}'), fragment(1, "b", "Read")],
        [fragment(0, "a"), fragment(0, None, "Bash"), fragment(0, args='{"command":"ls"}'), fragment(1, "b", "Read")],
        [fragment(0, None, "Bash", '{"command":'), fragment(0, "a", None, '"ls"}'), fragment(1, "b", "Read", "null")],
        [fragment(0, "a", "Bash", '"{\\"command\\":\\"ls\\"}"'), fragment(1, "b", "Read", '"null"')],
    ],
    ids=[
        "by id",
        "by neither",
        "id and name repeated",
        "name split",
        "name split without index",
        "new id on the same index",
        "same index without ids",
        "arguments as objects",
        "a new id in every piece",
        "id before name",
        "id after the arguments began",
        "arguments encoded twice",
    ],
)
def test_calls_are_put_together_however_they_are_labelled(chunks: list[dict[str, Any]]) -> None:
    read = reading(tools=[tool("Bash"), tool("Read")])
    message = answer(*(calls(one) for one in chunks), delta("tool_calls"), read=read)
    assert [block["name"] for block in message["content"]] == ["Bash", "Read"]
    assert inputs(message) == [{"command": "ls"}, {}]
    message = answer(calls(*chunks), delta("tool_calls"), read=reading(tools=[tool("Bash"), tool("Read")]))
    assert inputs(message) == [{"command": "ls"}, {}]


@pytest.mark.parametrize("args", [None, "", "null", "{}", " ", '""', "[]", {}])
def test_a_call_without_arguments_has_an_empty_input_and_never_null(args: Any) -> None:
    events = run(calls(fragment(0, "a", "Now", args)), delta("tool_calls"))
    assert "null" not in json.dumps([event.data for event in events if event.name == "content_block_delta"])
    assert inputs(assembled(events)) == [{}]


@pytest.mark.parametrize("text", ["ls -l", "{'command': 'ls'}", "{command: 1}", "{ls", "{" + " " * 300 + "x}"])
@pytest.mark.parametrize("size", [1, 400])
def test_arguments_that_are_no_object_are_shown_to_the_model_as_what_they_were(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    message = answer(
        calls(fragment(0, "a", "Bash", "")), *(calls(fragment(0, args=one)) for one in pieces), delta("tool_calls")
    )
    assert inputs(message) == [{"invalid_arguments": text}]


@pytest.mark.parametrize(
    "text", ['{"a":1}', '{ "a" : 1 }', "{" + " " * 300 + '"a":1}', '{"a":1,"b":"' + "x" * 900 + '"}']
)
@pytest.mark.parametrize("size", [1, 300, 5000])
def test_objects_stay_as_they_were_written(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    message = answer(
        calls(fragment(0, "a", "Bash", "")), *(calls(fragment(0, args=one)) for one in pieces), delta("tool_calls")
    )
    assert inputs(message) == [json.loads(text)]


def test_the_older_single_function_call_is_a_call() -> None:
    older = [{"name": "Bash", "arguments": '{"a":'}, {"arguments": "1}"}]
    message = answer(*(delta(function_call=one) for one in older), delta("function_call"))
    assert inputs(message) == [{"a": 1}]
    assert message["content"][0]["id"].startswith("toolu_")


def test_shortened_names_come_back_whole() -> None:
    long = "mcp__" + "x" * 90
    made = chat(user("hi"), tools=[tool(long)])
    sent = made.fields["tools"][0]["function"]["name"]
    assert answer(calls(fragment(0, "a", sent, "{}")), DONE, read=made.reading)["content"][0]["name"] == long


def test_text_after_a_call_waits_for_it_and_blank_text_is_dropped() -> None:
    message = answer(
        delta(content="\n\n"),
        calls(fragment(0, "a", "Bash", '{"a":')),
        delta(content="done"),
        calls(fragment(0, args="1}")),
        delta(content="\n"),
        delta("tool_calls"),
    )
    assert [block["type"] for block in message["content"]] == ["tool_use", "text"]
    assert inputs(message) == [{"a": 1}]


def test_reasoning_closes_before_text_opens() -> None:
    events = run(delta(reasoning="a"), delta(reasoning="b"), delta(content="c"), delta(reasoning="d"), DONE)
    order = [(event.name, event.data["index"]) for event in events if event.name.startswith("content_block_st")]
    assert order == [(name, at) for at in range(3) for name in ("content_block_start", "content_block_stop")]


@pytest.mark.parametrize(
    "chunk",
    [
        delta(reasoning_content="hm"),
        delta(reasoning="hm"),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "hm", "index": 0}]),
        delta(reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm", "index": 0}]),
        delta(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
    ],
)
def test_reasoning_in_any_spelling_is_a_thinking_block(chunk: dict[str, Any]) -> None:
    message = answer(chunk, delta(content="so"), DONE)
    assert message["content"][0]["thinking"] == "hm"
    assert texts(message) == ["so"]


def test_the_signature_names_upstream_and_model_and_carries_what_goes_back() -> None:
    summary = [{"type": "summary_text", "text": "h"}], [{"type": "summary_text", "text": "m", "signature": "sig"}]
    chunks = [delta(content=[{"type": "reasoning", "summary": one}]) for one in summary]
    origin = foreign_signature.read(answer(*chunks, delta(content="so"), DONE)["content"][0]["signature"])
    assert origin is not None
    assert origin.belongs_to("up", "m")
    assert origin.payload == {"signature": "sig"}


def test_pieces_of_openrouters_records_are_put_together_for_the_way_back() -> None:
    details = [
        {"type": "reasoning.text", "text": "h", "index": 0},
        {"type": "reasoning.text", "text": "m", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
    ]
    message = answer(*(delta(reasoning_details=[one]) for one in details), delta(content="so"), DONE)
    origin = foreign_signature.read(message["content"][0]["signature"])
    assert origin is not None
    assert origin.payload["details"] == [
        {"type": "reasoning.text", "text": "hm", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
    ]


def test_omitted_thinking_has_a_signature_and_no_text() -> None:
    read = reading(thinking={"type": "adaptive", "display": "omitted"}, dialect="deepseek")
    events = run(delta(reasoning_content="hm"), delta(content="so"), DONE, read=read)
    kinds = [event.data["delta"]["type"] for event in events if event.name == "content_block_delta"]
    assert kinds == ["signature_delta", "text_delta"]
    origin = foreign_signature.read(events[2].data["delta"]["signature"])
    assert origin is not None
    assert origin.payload == {"text": "hm"}


def test_disabled_thinking_is_not_shown() -> None:
    message = answer(delta(reasoning="hm"), delta(content="so"), DONE, read=reading(thinking={"type": "disabled"}))
    assert [block["type"] for block in message["content"]] == ["text"]


def test_usage_after_the_finish_reason_is_waited_for_and_cached_tokens_counted_once() -> None:
    late = usage(
        100, 20, prompt_tokens_details={"cached_tokens": 60}, completion_tokens_details={"reasoning_tokens": 5}
    )
    counts = answer(delta(content="x"), DONE, late)["usage"]
    assert (counts["input_tokens"], counts["cache_read_input_tokens"], counts["output_tokens"]) == (40, 60, 20)
    assert counts["output_tokens_details"] == {"thinking_tokens": 5}


def test_the_end_comes_with_the_usage_not_with_the_connection() -> None:
    stream = ChatStream(reading())
    stream.feed(delta(content="x"))
    assert stream.feed(DONE) == []
    assert stream.feed(usage())[-1].name == "message_stop"
    assert stream.done


def test_the_start_has_the_estimate_until_the_server_says_more() -> None:
    assert run(delta(content="x"), DONE, input_tokens=123)[0].data["message"]["usage"]["input_tokens"] == 123
    early = {**delta(content="x"), **usage(55, 1), "choices": delta(content="x")["choices"]}
    assert run(early, DONE)[0].data["message"]["usage"]["input_tokens"] == 55


@pytest.mark.parametrize("lie", [-5, 10**15, "many", None, True, 0, 1e300])
def test_nonsense_about_usage_becomes_an_estimate(lie: Any) -> None:
    counts = answer(delta(content="twelve chars"), DONE, usage(lie, lie), input_tokens=9)["usage"]
    assert (counts["input_tokens"], counts["output_tokens"]) == (9, 3)


def test_a_server_without_usage_gets_an_estimate() -> None:
    assert answer(delta(content="twelve chars"), DONE)["usage"]["output_tokens"] == 3


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "end_turn"),
        ("tool_calls", "end_turn"),
        ("length", "max_tokens"),
        ("model_length", "model_context_window_exceeded"),
        ("something_new", "end_turn"),
    ],
)
def test_finish_reasons_of_a_text(finish: str, expected: str) -> None:
    assert answer(delta(content="x"), delta(finish))["stop_reason"] == expected


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
def test_an_answer_with_calls_ends_in_tool_use(finish: str) -> None:
    assert answer(calls(fragment(0, "a", "Bash", "{}")), delta(finish))["stop_reason"] == "tool_use"


def test_a_full_window_is_told_from_a_reached_limit() -> None:
    read = reading(dialect=dialect("vllm", context_tokens=100))
    assert answer(delta(content="x"), delta("length"), usage(90, 10), read=read)["stop_reason"] == (
        "model_context_window_exceeded"
    )


def test_a_call_cut_before_its_arguments_is_not_shown() -> None:
    message = answer(delta(content="x"), calls(fragment(0, "a", "Bash", "")), delta("length"))
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("chunks", [[delta("content_filter")], [delta(refusal="I will not"), DONE]])
def test_a_filter_or_a_refusal_is_a_refusal(chunks: list[dict[str, Any]]) -> None:
    message = answer(delta(content=""), *chunks)
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["type"] == "refusal"


def test_a_missing_finish_reason_is_an_end_only_where_the_server_said_so() -> None:
    assert answer(delta(content="x"))["stop_reason"] == "end_turn"
    assert isinstance(broken(delta(content="x"), clean=False), UpstreamBroken)
    assert answer(delta(content="x"), DONE, clean=False)["stop_reason"] == "end_turn"


def test_an_answer_of_nothing_is_an_empty_turn_and_no_answer_is_broken() -> None:
    assert answer(FIRST, DONE)["content"] == []
    assert isinstance(broken({"choices": []}), UpstreamBroken)


@pytest.mark.parametrize(
    ("chunk", "status"),
    [
        ({"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}}, 429),
        ({"error": "boom"}, 500),
        ({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, 400),
        ({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}, 529),
        ({"choices": [{"error": {"code": 502, "message": "provider"}, "finish_reason": "error", "delta": {}}]}, 502),
        ({"detail": "Not today"}, 500),
    ],
)
def test_an_error_among_the_chunks_is_an_error(chunk: dict[str, Any], status: int) -> None:
    for before in ([], [delta(content="x")]):
        failure = broken(*before, chunk)
        assert isinstance(failure, UpstreamError)
        assert failure.status == status


@pytest.mark.parametrize(
    ("finish", "kind"), [("abort", UpstreamBroken), ("insufficient_system_resource", UpstreamError)]
)
def test_an_answer_that_the_server_gave_up_is_no_answer(finish: str, kind: type[Exception]) -> None:
    assert isinstance(broken(delta(content="x"), delta(finish)), kind)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_stop_sequences_beyond_the_servers_limit_are_found_across_pieces(size: int) -> None:
    read = reading(stop_sequences=["a1", "a2", "a3", "a4", "STOP", "ST!"])
    whole = "one S ST STO two STOP three"
    pieces = [delta(content=whole[at : at + size]) for at in range(0, len(whole), size)]
    message = answer(*pieces, DONE, read=read)
    assert texts(message) == ["one S ST STO two "]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "STOP")


def test_text_that_only_looks_like_a_stop_sequence_is_shown_in_the_end() -> None:
    read = reading(stop_sequences=["a1", "a2", "a3", "a4", "STOP"])
    assert texts(answer(delta(content="all ST"), DONE, read=read)) == ["all ST"]


def test_a_stop_sequence_is_named_only_where_the_server_names_it() -> None:
    read = reading(stop_sequences=["END"])
    named = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]}
    message = answer(delta(content="x"), named, read=read)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    assert answer(delta(content="x"), DONE, read=reading(stop_sequences=["END"]))["stop_reason"] == "end_turn"


def test_a_client_that_takes_one_call_gets_one() -> None:
    read = reading(tools=[tool()], tool_choice={"type": "auto", "disable_parallel_tool_use": True}, dialect="ollama")
    message = answer(
        calls(fragment(0, "a", "Bash", '{"a":')),
        calls(fragment(1, "b", "Bash", '{"b":2}')),
        calls(fragment(0, args="1}")),
        delta(content="more"),
        read=read,
    )
    assert inputs(message) == [{"a": 1}]
    assert message["stop_reason"] == "tool_use"


def test_the_arguments_of_a_forced_call_are_the_answers_text() -> None:
    made = chat(user("hi"), dialect="databricks-claude",
                output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}})  # fmt: skip
    name = made.reading.json_tool
    message = answer(calls(fragment(0, "a", name, '{"x":')), calls(fragment(0, args="1}")), delta("tool_calls"),
                     read=made.reading)  # fmt: skip
    assert (texts(message), message["stop_reason"]) == (['{"x":1}'], "end_turn")


def test_nothing_is_shown_where_no_sampling_was_asked_for() -> None:
    message = answer(delta(content="x"), delta("length"), read=reading(max_tokens=0))
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")


def test_a_whole_answer_is_one_large_chunk() -> None:
    whole = {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "I look.",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "Bash", "arguments": '{"a":1}'}}
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    message = answer(whole, clean=False)
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["usage"]["output_tokens"] == 4


def test_too_many_or_too_large_calls_end_the_answer() -> None:
    many = [calls(fragment(at, f"c{at}", "Bash", "{}")) for at in range(257)]
    assert "257" not in str(broken(*many)) and "256 tool calls" in str(broken(*many))
    huge = [calls(fragment(0, "a", "Bash", '{"x":"'))] + [calls(fragment(0, args="y" * 2**20))] * 9
    assert "characters of arguments" in str(broken(*huge))


def test_memory_does_not_grow_with_the_length_of_an_answer() -> None:
    stream = ChatStream(reading(stop_sequences=["a", "b", "c", "d", "STOP"]))
    events = 0
    for at in range(20_000):
        events += len(
            stream.feed(delta(content="words and words ", reasoning="") if at % 100 else delta(reasoning="hm"))
        )
    held = [item for item in vars(stream).values() if isinstance(item, list | dict | set)]
    assert events > 20_000
    assert all(len(item) < 300 for item in held)
    assert sum(item.held for item in stream._queue) < 100
