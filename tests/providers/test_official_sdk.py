"""The official SDK takes the scripted upstream for the real one: the stand-in speaks the true wire format."""

from typing import Any

import anthropic
import pytest
from upstream_process import Scripted

TURNS: list[dict[str, Any]] = [
    {
        "blocks": [
            {"thinking": "hm"},
            {"text": "I look — é 😀."},
            {"tool_use": {"name": "Bash", "input": {"command": "ls"}}},
        ],
        "usage": {"input_tokens": 11, "output_tokens": 7},
    },
    {"expect": {"last_tool_result": {"equals": "a.txt", "is_error": False}}, "text": "It says ${last_tool_result}."},
]
TOOLS: Any = [{"name": "Bash", "input_schema": {"type": "object"}}]


def client(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "create"])
async def test_a_tool_loop_runs_through_the_sdk(scripted: Scripted, streamed: bool) -> None:
    upstream = await scripted({"turns": TURNS, "pace": {"chunk_bytes": 11}})

    async def ask(sdk: anthropic.AsyncAnthropic, messages: Any) -> Any:
        if not streamed:
            return await sdk.messages.create(model="m", max_tokens=99, messages=messages, tools=TOOLS)
        async with sdk.messages.stream(model="m", max_tokens=99, messages=messages, tools=TOOLS) as stream:
            return await stream.get_final_message()

    async with client(upstream.url) as sdk:
        messages: list[Any] = [{"role": "user", "content": "go"}]
        first = await ask(sdk, messages)
        assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
        assert first.content[1].text == "I look — é 😀."
        assert first.content[2].input == {"command": "ls"}
        assert (first.stop_reason, first.usage.input_tokens, first.usage.output_tokens) == ("tool_use", 11, 7)
        content = [
            block.model_dump(mode="json", exclude={"parsed_output"}, exclude_none=True) for block in first.content
        ]
        result = {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "a.txt"}
        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
        final = await ask(sdk, messages)
        assert final.content[0].text == "It says a.txt."
        assert final.stop_reason == "end_turn"
    assert await upstream.stop() == 0


async def test_the_sdk_sees_errors_as_its_own_exceptions(scripted: Scripted) -> None:
    fault = {"status": 429, "message": "slow down", "headers": {"retry-after": "3"}}
    upstream = await scripted({"turns": [{"text": "x", "fault": fault}]})
    async with client(upstream.url) as sdk:
        with pytest.raises(anthropic.RateLimitError, match="slow down") as caught:
            await sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert caught.value.response.headers["retry-after"] == "3"


async def test_the_sdk_counts_tokens_and_lists_models(scripted: Scripted) -> None:
    upstream = await scripted({"count_tokens": 5, "models": ["claude-a", "claude-b"]})
    async with client(upstream.url) as sdk:
        counted = await sdk.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}])
        assert counted.input_tokens == 5
        assert [model.id async for model in sdk.models.list()] == ["claude-a", "claude-b"]
