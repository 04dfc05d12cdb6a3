"""A client of the Messages API with nothing of the gateway in it: posts bodies, reads answers and streams."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]

BASH: Json = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
READ: Json = {"name": "Read", "input_schema": {"type": "object"}}
WRITE: Json = {"name": "Write", "input_schema": {"type": "object"}}
EDIT: Json = {"name": "Edit", "input_schema": {"type": "object"}}
GLOB: Json = {"name": "Glob", "input_schema": {"type": "object"}}
ASK: Json = {"name": "AskUserQuestion", "input_schema": {"type": "object"}}
"""A tool that the client runs."""

WAIT_SECONDS = 90.0


@dataclass
class Answer:
    """A whole answer; `events` are those of a stream, in order."""

    status: int
    headers: httpx.Headers
    body: bytes
    message: Json
    events: list[tuple[str, Json]] = field(default_factory=list)

    @property
    def blocks(self) -> list[Json]:
        found: list[Json] = self.message.get("content", [])
        return found

    @property
    def texts(self) -> list[str]:
        """What the model said."""
        return [block["text"] for block in self.blocks if block["type"] == "text" and "gateway" not in block]

    @property
    def shown(self) -> list[str]:
        """What was shown of sandboxed calls."""
        return [block["text"] for block in self.blocks if block["type"] == "text" and "gateway" in block]

    @property
    def results(self) -> list[str]:
        """Texts of the results of sandboxed calls."""
        pairs = [block for block in self.blocks if block["type"] == "code_execution_tool_result"]
        return [block["content"]["stdout"] for block in pairs]

    @property
    def error(self) -> Json:
        """The error: of the envelope, or of the event that the stream ends with."""
        return dict((self.events[-1][1] if self.events else self.message)["error"])

    @property
    def assistant(self) -> Json:
        """The answer as the next request brings it back."""
        return {"role": "assistant", "content": self.blocks}


@dataclass(frozen=True)
class Caller:
    """A key, and the session its requests name."""

    url: str
    key: str
    session: str | None = "one"

    def headers(self, **more: str) -> dict[str, str]:
        named = {"x-bulkhead-session": self.session} if self.session else {}
        more = {name.replace("_", "-"): value for name, value in more.items()}
        return {"x-api-key": self.key, "anthropic-version": "2023-06-01", **named, **more}

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=WAIT_SECONDS)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request with the caller's credentials."""
        options["headers"] = {**self.headers(), **options.get("headers", {})}
        with self.http() as client:
            return client.request(method, path, **options)

    def ask(self, body: Json, **headers: str) -> Answer:
        """One turn, whole or streamed as the body says."""
        with self.streaming(body, **headers) as response:
            content = response.read()
        return answer_of(response.status_code, response.headers, content)

    @contextlib.contextmanager
    def live(self, body: Json, **headers: str) -> Iterator[LiveStream]:
        """A streamed turn to be watched while it runs, or left."""
        with self.streaming({**body, "stream": True}, **headers) as response:
            yield LiveStream(response)

    @contextlib.contextmanager
    def streaming(self, body: Json, **headers: str) -> Iterator[httpx.Response]:
        """A turn whose answer is read, or left, by the block."""
        with self.http() as client:
            with client.stream("POST", "/v1/messages", json=body, headers=self.headers(**headers)) as response:
                yield response


class LiveStream:
    """A streamed answer while it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.iter_raw()
        self._seen = b""

    @property
    def names(self) -> list[str]:
        """Names of the events that have come."""
        return [name for name, _ in events_of(self._seen)]

    def until(self, name: str) -> None:
        """Read on until such an event has come."""
        while name not in self.names:
            chunk = next(self._chunks, b"")
            assert chunk, f"the answer ended before {name}: {self._seen!r}"
            self._seen += chunk

    def finish(self) -> Answer:
        """Read the rest."""
        self._seen += b"".join(self._chunks)
        return answer_of(self._response.status_code, self._response.headers, self._seen)


def asking(prompt: str | list[Json], *tools: Json, stream: bool = False, **fields: Any) -> Json:
    """A body: a prompt, or a whole conversation."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    body: Json = {"model": "claude-test", "max_tokens": 1000, "messages": messages, **fields}
    if tools:
        body["tools"] = list(tools)
    return {**body, "stream": True} if stream else body


def answer_of(status: int, headers: httpx.Headers, content: bytes) -> Answer:
    if headers.get("content-type", "").startswith("text/event-stream"):
        events = events_of(content)
        return Answer(status, headers, content, assembled(events), events)
    return Answer(status, headers, content, json.loads(content))


def events_of(content: bytes) -> list[tuple[str, Json]]:
    """The events of a stream's bytes, as far as they are complete."""
    found: list[tuple[str, Json]] = []
    *complete, _ = content.decode().split("\n\n")
    for part in complete:
        name, data = part.split("\n", 1)
        assert name.startswith("event: ") and data.startswith("data: "), part
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def assembled(events: list[tuple[str, Json]]) -> Json:
    """The message that a stream builds. Fails at a stream that breaks the API's grammar."""
    message: Json = {}
    blocks: list[Json] = []
    open_at: int | None = None
    inputs: dict[int, str] = {}
    for name, data in events:
        if name == "message_start":
            assert not message, "a second message_start"
            message = data["message"]
        elif name == "content_block_start":
            assert open_at is None and data["index"] == len(blocks), data
            open_at = data["index"]
            blocks.append(dict(data["content_block"]))
        elif name == "content_block_delta":
            assert data["index"] == open_at, data
            _grow(blocks[-1], data["delta"], inputs, open_at)
        elif name == "content_block_stop":
            assert data["index"] == open_at, data
            if open_at in inputs:
                blocks[-1]["input"] = json.loads(inputs[open_at] or "{}")
            open_at = None
        elif name == "message_delta":
            message = {**message, **data["delta"], "usage": data.get("usage", {})}
    message["content"] = blocks
    return message


def _grow(block: Json, delta: Json, inputs: dict[int, str], at: int) -> None:
    if delta["type"] == "input_json_delta":
        inputs[at] = inputs.get(at, "") + delta["partial_json"]
        return
    name = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}[delta["type"]]
    block[name] = block.get(name, "") + delta[name]
