"""Short ways to write Messages requests and chat chunks."""

import json
from typing import Any

from gateway.messages.assemble import Assembler
from gateway.messages.events import Event
from gateway.messages.grammar import Grammar
from gateway.messages.request import MessagesRequest
from gateway.providers.chat import DIALECTS, ChatRequest, ChatStream, Dialect, to_chat
from gateway.providers.chat.request import Reading

PNG = "iVBORw0KGgo="
GENERIC = DIALECTS["openai"]


def user(*content: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "content": content[0] if len(content) == 1 and isinstance(content[0], str) else list(content),
    }


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def text(value: str, **extra: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **extra}


def call(call_id: str, name: str = "Bash", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = None, **extra: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call_id, **extra}
    return block if content is None else {**block, "content": content}


def image(kind: str = "base64") -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    return {
        "type": "image",
        "source": source if kind == "base64" else {"type": "url", "url": "https://example.test/a.png"},
    }


def tool(name: str = "Bash", **extra: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"command": {"type": "string"}}}
    return {"name": name, "description": f"runs {name}", "input_schema": schema, **extra}


def request(*messages: dict[str, Any], **fields: Any) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1000, "messages": list(messages or [user("hi")]), **fields}
    return MessagesRequest.parse(json.dumps(body).encode())


def chat(*messages: dict[str, Any], dialect: Dialect | str = GENERIC, model: str = "", **fields: Any) -> ChatRequest:
    chosen = DIALECTS[dialect] if isinstance(dialect, str) else dialect
    return to_chat(request(*messages, **fields), chosen, upstream="up", model=model)


def body_of(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(chat(*messages, **fields).encode())
    return decoded


def messages_of(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(*messages, **fields)["messages"]
    return found


def reading(**fields: Any) -> Reading:
    return chat(user("hi"), **fields).reading


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def fragment(
    index: int | None = 0, call_id: str | None = None, name: str | None = None, args: Any = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    found: dict[str, Any] = {"function": function}
    if index is not None:
        found["index"] = index
    if call_id is not None:
        found["id"] = call_id
    return found


def calls(*fragments: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return delta(finish, tool_calls=list(fragments))


def usage(prompt: Any = 10, completion: Any = 5, **extra: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **extra}}


def run(*chunks: dict[str, Any], read: Reading | None = None, clean: bool = True, input_tokens: int = 7) -> list[Event]:
    """The events, checked by the grammar."""
    stream = ChatStream(read or reading(), input_tokens=input_tokens)
    events: list[Event] = []
    for chunk in chunks:
        events += stream.feed(chunk)
    events += stream.close(clean=clean)
    grammar = Grammar()
    for event in events:
        grammar.check(event)
    assert grammar.finished
    return events


def assembled(events: list[Event]) -> dict[str, Any]:
    assembler = Assembler()
    for event in events:
        assembler.feed(event)
    return assembler.message


def answer(*chunks: dict[str, Any], **options: Any) -> dict[str, Any]:
    return assembled(run(*chunks, **options))
