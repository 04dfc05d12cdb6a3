"""Reads a chat request as the Messages request it must have come from, to find its place in a scenario.

Only what scenarios look at: prompts, texts, tools, calls and results. Must not judge: `strict_chat` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.request import MessagesRequest

__all__ = ["as_messages_request", "signed_thoughts", "text_of"]

Json = dict[str, Any]


_FILLER_CHARACTERS = 12
_REMINDER = re.compile(r"(<system-reminder>.*?</system-reminder>)", re.DOTALL)
"""What a client tells the model beside the prompt; joined with it, the two must be told apart again."""


def as_messages_request(body: Mapping[str, Any], model: str, *, fillers: bool = False) -> MessagesRequest:
    """The request; `model` where the body names none. Raises `InvalidRequest` when nothing can be made of it.

    `fillers`: between a tool's message and a user's a few words of the assistant must stand, which were no turn.
    """
    systems: list[str] = []
    messages: list[Json] = []
    given = body["messages"]
    for at, message in enumerate(given):
        role = message["role"]
        if fillers and _fills(given[at - 1 : at + 2]):
            continue
        if role in ("system", "developer") and not messages:
            systems.append(text_of(message.get("content")))
        elif role in ("system", "developer"):
            messages.append({"role": "system", "content": text_of(message.get("content"))})
        else:
            _add(messages, "assistant" if role == "assistant" else "user", _blocks(message))
    fields: Json = {
        "model": body.get("model") or model,
        "max_tokens": body.get("max_tokens") or body.get("max_completion_tokens") or 1,
        "messages": messages,
        "stream": bool(body.get("stream")),
    }
    if systems:
        fields["system"] = "\n".join(systems)
    if body.get("tools"):
        fields["tools"] = [_tool(tool["function"]) for tool in body["tools"]]
    return MessagesRequest.parse(jsonbytes.encode(fields))


def text_of(content: object) -> str:
    """The text of a message's content: its string, or its text parts joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text")


def _fills(three: list[Json]) -> bool:
    """Whether the middle one of three messages only parts a tool's from a user's."""
    text = text_of(three[1].get("content")) if [one["role"] for one in three] == ["tool", "assistant", "user"] else None
    return text is not None and not three[1].get("tool_calls") and len(text) <= _FILLER_CHARACTERS


def signed_thoughts(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Thinking that comes back under a signature: the text and the signature, in order."""
    found: list[tuple[str, str]] = []
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            found += [
                (str(one.get("text")), str(one.get("signature")))
                for one in part.get("summary", [])
                if "signature" in one
            ]
        details = [one for one in message.get("reasoning_details") or [] if one.get("type") == "reasoning.text"]
        found += [(str(one.get("text")), str(one["signature"])) for one in details if one.get("signature")]
    return found


def _add(messages: list[Json], role: str, blocks: list[Json]) -> None:
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


def _blocks(message: Json) -> list[Json]:
    content = message.get("content")
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": text_of(content)}]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    texts = [str(part["text"]) for part in parts if part.get("type") == "text"]
    blocks = [{"type": "text", "text": text} for one in texts for text in _REMINDER.split(one) if text.strip()]
    blocks += [{"type": "image"} for part in parts if part.get("type") == "image_url"]
    for call in message.get("tool_calls") or []:
        function = call["function"]
        given = json.loads(function["arguments"])
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
    return blocks


def _tool(function: Json) -> Json:
    return {"name": function["name"], "input_schema": function.get("parameters", {"type": "object"})}
