"""Where a request stands in a scenario: which conversation, which turn, what came before.

Everything is read off the request, so that the same request always gets the same answer, however often
and in whatever process it is asked.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gateway.messages.blocks import Block, Message
from gateway.messages.digest import turn_digest, working_directory
from gateway.messages.request import MessagesRequest
from gateway.providers.scripted.scenario import Conversation, Match, Scenario, Turn

__all__ = ["Asked", "Place", "locate", "matches", "names"]

_REMINDER = "<system-reminder>"


def matches(pattern: str, text: str) -> bool:
    """`/.../` is a regular expression to search for, anything else a substring."""
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return re.search(pattern[1:-1], text, re.MULTILINE) is not None
    return pattern in text


def names(value: str | Sequence[str]) -> list[str]:
    """One name or several."""
    return [value] if isinstance(value, str) else list(value)


@dataclass(frozen=True)
class Asked:
    """A request and what can be read off it. `headers` have lower-case names."""

    request: MessagesRequest
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def system(self) -> str:
        """The system prompt and the system entries, joined."""
        entries = (message.text for message in self.request.messages if message.role == "system")
        return "\n".join([self.request.system_text, *entries])

    @cached_property
    def subagent(self) -> bool:
        return "x-claude-code-agent-id" in self.headers or "cc_is_subagent=true" in self.system

    @cached_property
    def tool_names(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self.request.tools)

    @cached_property
    def workdir(self) -> str:
        """The client's stated directory, "" when it stated none."""
        return working_directory(self.request.system_text, self.request.messages) or ""

    @cached_property
    def digest(self) -> str:
        """Names this request: equal for a repeated one, different for every other of a session."""
        seed = f"{self.headers.get('x-claude-code-agent-id', '')}\n{turn_digest(self.request.messages)}"
        return hashlib.sha256(seed.encode()).hexdigest()


@dataclass(frozen=True)
class Place:
    """A request's place: `step` counts the conversation's turns from 0; `results` are the tool results since
    the conversation began, oldest first; `user` is the text it began with."""

    conversation: Conversation
    step: int
    turn: Turn
    results: tuple[Block, ...]
    user: str


def locate(scenario: Scenario, asked: Asked) -> Place:
    """The matching conversation that began last; of several that began together the first in the file.

    A conversation with a `user` pattern begins at the latest user text that matches it, one without at the
    first message. Past its last turn, and when nothing matches, the fallback answers.
    """
    best: tuple[int, Conversation] | None = None
    for conversation in scenario.all_conversations:
        begin = _begin(conversation.match, asked)
        if begin is not None and (best is None or begin > best[0]):
            best = (begin, conversation)
    if best is None:
        best = (0, Conversation(name="fallback", turns=[]))
    begin, conversation = best
    since = asked.request.messages[begin:]
    step = _assistant_turns(since)
    turn = conversation.turns[step] if step < len(conversation.turns) else scenario.fallback
    return Place(conversation, step, turn, tuple(_results(since)), _human_text(since[0]))


def _begin(match: Match, asked: Asked) -> int | None:
    if not _fits(match, asked):
        return None
    messages = asked.request.messages
    begin = 0
    if match.user is not None:
        places = [at for at, one in enumerate(messages) if matches(match.user, _human_text(one) or "\0")]
        if not places:
            return None
        begin = places[-1]
    if match.tool_results is not None and len(list(_results(messages[begin:]))) != match.tool_results:
        return None
    return begin


def _fits(match: Match, asked: Asked) -> bool:
    offered = asked.tool_names
    return (
        (match.system is None or matches(match.system, asked.system))
        and (match.model is None or matches(match.model, asked.request.model))
        and (match.tools is None or match.tools == bool(asked.request.tools))
        and (match.subagent is None or match.subagent == asked.subagent)
        and all(asked.headers.get(name.lower()) == value for name, value in match.header.items())
        and all(name in offered for name in names(match.tool))
        and not any(name in offered for name in names(match.no_tool))
    )


def _human_text(message: Message) -> str:
    """What a person typed: the text of a user message without the client's reminders."""
    if message.role != "user":
        return ""
    texts = (str(block.get("text", "")) for block in message.blocks if block.type == "text")
    return "\n".join(text for text in texts if not text.lstrip().startswith(_REMINDER))


def _assistant_turns(messages: Sequence[Message]) -> int:
    """Runs of assistant messages; system entries do not part them."""
    roles = [message.role for message in messages if message.role != "system"]
    return sum(role == "assistant" and (at == 0 or roles[at - 1] != role) for at, role in enumerate(roles))


def _results(messages: Sequence[Message]) -> list[Block]:
    return [block for message in messages for block in message.blocks if block.type == "tool_result"]
