"""The order of a chat conversation: every call answered at once, everything else in its place.

Takes the turns of a Messages request and lays them out as a strict chat server wants them. What single blocks
become is the business of `content`; tools, sampling and limits that of `request`; what no chat server knows at all
(server tools, deferred tools, compaction) was retold by `adapt` before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gateway.messages import foreign_signature, jsonbytes
from gateway.messages.blocks import Block, Message
from gateway.messages.request import MessagesRequest
from gateway.providers.chat.content import Part, as_content, parts_of, result_of, text_part
from gateway.providers.chat.dialects import Dialect
from gateway.providers.chat.identity import CallIds, Names

__all__ = ["Conversation", "call_ids", "called_names"]

ChatMessage = dict[str, Any]

_NOTHING = "(no content)"
_GO_ON = "Go on exactly where your last message ends, and repeat nothing of it."
_NOT_TEXT = frozenset({"tool_use", "thinking", "redacted_thinking"})


def called_names(request: MessagesRequest) -> list[str]:
    """The names of every tool that the history has a call of, in order."""
    return [str(block.get("name")) for block in _calls(request)]


def call_ids(request: MessagesRequest) -> list[str]:
    """The ids of every call in the history, in order."""
    return [str(block.get("id")) for block in _calls(request)]


def _calls(request: MessagesRequest) -> list[Block]:
    messages = (message for message in request.messages if not isinstance(message.content, str))
    return [block for message in messages for block in message.blocks if block.type == "tool_use"]


@dataclass(slots=True)
class _Turn:
    """Neighbouring messages of one side. A user turn holds system entries too, as texts in their place."""

    assistant: bool
    entries: list[Block | str] = field(default_factory=list)

    def blocks(self, *kinds: str) -> list[Block]:
        return [entry for entry in self.entries if isinstance(entry, Block) and (not kinds or entry.type in kinds)]


class Conversation:
    """The messages of one request, for one dialect. `upstream` and `model` say whose reasoning may go back.

    The request's calls and results must pair up (`gateway.messages.pairing`).
    """

    def __init__(
        self, request: MessagesRequest, dialect: Dialect, names: Names, ids: CallIds, upstream: str, model: str
    ) -> None:
        self._request = request
        self._dialect = dialect
        self._names = names
        self._ids = ids
        self._origin = (upstream, model)
        self._turns = _turns(request.messages)
        self._messages: list[ChatMessage] = []
        self.lacks_reasoning = False
        """After `lay_out`: the tool loop under way has calls whose reasoning is not there to be sent back."""

    def lay_out(self, *manuals: str) -> list[ChatMessage]:
        """The chat messages. `manuals` are texts of our own for the end of the system prompt."""
        self._system([text for text in manuals if text])
        loop = _loop_start(self._turns)
        for at, turn in enumerate(self._turns):
            if turn.assistant:
                after = self._turns[at + 1] if at + 1 < len(self._turns) else _Turn(False)
                self._assistant(turn, after, in_loop=at >= loop)
            else:
                self._user(turn)
        if self.prefilled and not self._dialect.continues:
            self._add_user([text_part(_GO_ON)])
        for message in self._messages:
            if message["role"] == "user":
                message["content"] = as_content(message["content"])
        if self.prefilled:
            self._messages[-1].update(self._dialect.prefill_message)
        return self._messages

    @property
    def prefilled(self) -> bool:
        """Whether the last message is the beginning of the answer."""
        last = self._messages[-1]
        return last["role"] == "assistant" and "tool_calls" not in last

    def _system(self, manuals: Sequence[str]) -> None:
        parts = [*parts_of(self._request.system_blocks, self._dialect), *map(text_part, manuals)]
        if parts:
            self._messages.append({"role": "system", "content": as_content(parts)})

    def _user(self, turn: _Turn) -> None:
        before = len(self._messages)
        results = turn.blocks("tool_result")
        parts: list[Part] = []
        for block in results:
            parts += result_of(block, self._ids.outward(str(block.get("tool_use_id"))), self._dialect).moved
        for entry in turn.entries:
            if isinstance(entry, Block):
                parts += parts_of([entry], self._dialect) if entry.type != "tool_result" else []
            elif self._dialect.system_midway:
                begun = any(message["role"] == "user" for message in self._messages)
                self._add_user(parts if begun else parts or [text_part(_NOTHING)])
                parts = []
                self._messages.append({"role": "system", "content": entry})
            else:
                parts.append(text_part(f"<system-reminder>\n{entry}\n</system-reminder>"))
        if not parts and not results and len(self._messages) == before:
            parts = [text_part(_NOTHING)]
        self._add_user(parts)

    def _add_user(self, parts: list[Part]) -> None:
        if not parts:
            return
        last: ChatMessage = self._messages[-1] if self._messages else {"role": ""}
        if last["role"] == "user":
            last["content"] += parts
            return
        if last["role"] == "tool" and self._dialect.after_results is not None:
            self._messages.append({"role": "assistant", "content": self._dialect.after_results})
        self._messages.append({"role": "user", "content": list(parts)})

    def _assistant(self, turn: _Turn, after: _Turn, *, in_loop: bool) -> None:
        reasoning = self._reasoning(turn) if in_loop or self._dialect.reasoning_back_always else {}
        calls = turn.blocks("tool_use")
        if in_loop and calls:
            self.lacks_reasoning = not reasoning
        texts = [block for block in turn.blocks() if block.type not in _NOT_TEXT]
        results = {str(block.get("tool_use_id")): block for block in after.blocks("tool_result")}
        groups = [[call] for call in calls] if self._dialect.calls_in_pairs else [calls]
        for group in groups or [[]]:
            self._say(texts, group, reasoning)
            for call in group:
                answer = results.get(str(call.get("id")))
                outcome = result_of(answer, "", self._dialect) if answer is not None else None
                self._answer(call, "" if outcome is None else outcome.parts or outcome.text)
            texts, reasoning = [], {}

    def _say(self, texts: Sequence[Block], calls: Sequence[Block], reasoning: Mapping[str, Any]) -> None:
        """One assistant message; none when it would say nothing."""
        parts = parts_of(texts, self._dialect)
        if not parts and not calls:
            return
        content: Any = _joined(texts, parts)
        if "content" in reasoning:
            content = [*reasoning["content"], *([text_part(content)] if content else [])]
        message: ChatMessage = {"role": "assistant", "content": content}
        message |= {name: value for name, value in reasoning.items() if name != "content"}
        if calls:
            message["tool_calls"] = [self._call(call) for call in calls]
        self._messages.append(message)

    def _call(self, call: Block) -> dict[str, Any]:
        arguments = jsonbytes.encode(call.get("input") or {}).decode()
        function = {"name": self._names.outward(str(call.get("name"))), "arguments": arguments}
        return {"id": self._ids.outward(str(call.get("id"))), "type": "function", "function": function}

    def _answer(self, call: Block, content: str | list[Part]) -> None:
        call_id = self._ids.outward(str(call.get("id")))
        content = content or self._dialect.empty_result
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def _reasoning(self, turn: _Turn) -> dict[str, Any]:
        """This model's own reasoning of that turn, in the field where it wants it back."""
        own: list[tuple[str, Mapping[str, Any]]] = []
        for block in turn.blocks("thinking"):
            origin = foreign_signature.read(block.get("signature"))
            if origin is not None and origin.belongs_to(*self._origin):
                text = str(block.get("thinking") or origin.payload.get("text") or "")
                own.append((text, origin.payload))
        return _REASONING[self._dialect.reasoning_back](own) if own else {}


def _joined(texts: Sequence[Block], parts: Sequence[Part]) -> str | None:
    """An assistant's text. Blocks with citations are pieces of one sentence, others are paragraphs."""
    pieces = [part["text"] for part in parts if part["type"] == "text"]
    cited = any(block.get("citations") for block in texts)
    return ("" if cited else "\n\n").join(pieces) or None


_Own = Sequence[tuple[str, Mapping[str, Any]]]


def _as_text(name: str, own: _Own) -> dict[str, Any]:
    text = "\n\n".join(text for text, _ in own if text)
    return {name: text} if text else {}


def _as_details(own: _Own) -> dict[str, Any]:
    details = [item for _, payload in own for item in _list(payload.get("details")) if isinstance(item, dict)]
    return {"reasoning_details": details} if details else _as_text("reasoning", own)


def _as_content(own: _Own) -> dict[str, Any]:
    """Only what carries its provider's signature: without it the server refuses the block."""
    signed = [(text, payload["signature"]) for text, payload in own if isinstance(payload.get("signature"), str)]
    if not signed:
        return {}
    summaries = [{"type": "summary_text", "text": text, "signature": signature} for text, signature in signed]
    return {"content": [{"type": "reasoning", "summary": [summary]} for summary in summaries]}


_REASONING: Mapping[str, Callable[[_Own], dict[str, Any]]] = {
    "no": lambda own: {},
    "reasoning_content": partial(_as_text, "reasoning_content"),
    "reasoning": partial(_as_text, "reasoning"),
    "reasoning_details": _as_details,
    "content": _as_content,
}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _turns(messages: Sequence[Message]) -> list[_Turn]:
    turns: list[_Turn] = []
    waiting: list[str] = []  # system entries between a call and its result: the results come first
    spoken_at = max((at for at, message in enumerate(messages) if _spoken(message)), default=-1)
    for at, message in enumerate(messages):
        if message.role == "system":
            text = message.text
            if not text.strip() or (at < spoken_at and _passing(message)):
                continue
            if turns[-1].blocks("tool_use"):
                waiting.append(text)
            else:
                _turn(turns, assistant=False).entries.append(text)
            continue
        turn = _turn(turns, assistant=message.role == "assistant")
        turn.entries += message.blocks
        if not turn.assistant:
            turn.entries += waiting
            waiting = []
    return turns


def _turn(turns: list[_Turn], *, assistant: bool) -> _Turn:
    if not turns or turns[-1].assistant != assistant:
        turns.append(_Turn(assistant))
    return turns[-1]


def _spoken(message: Message) -> bool:
    """Whether the user says something of their own here."""
    if message.role != "user":
        return False
    return isinstance(message.content, str) or any(block.type != "tool_result" for block in message.content)


def _passing(message: Message) -> bool:
    """Whether a system entry holds only until the user speaks again."""
    mark = message.extra.get("clear_at")
    return mark is not None and jsonbytes.decode_any(mark) == "next_user_message"


def _loop_start(turns: Sequence[_Turn]) -> int:
    """Where the tool loop under way begins: after the last user turn that answers no call."""
    for at in range(len(turns) - 1, -1, -1):
        if not turns[at].assistant and not turns[at].blocks("tool_result"):
            return at
    return 0
