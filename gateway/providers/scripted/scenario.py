"""The scenario file: its shape as types, and reading it.

Every field is documented in docs/scenarios.md. Unknown fields are errors, so that a typo cannot pass
for a test.
"""

from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import yaml

__all__ = [
    "LIES",
    "BlockScript",
    "Conversation",
    "Expect",
    "Fault",
    "Lie",
    "Match",
    "Pace",
    "ResultExpect",
    "Scenario",
    "ScenarioError",
    "ToolCall",
    "Turn",
    "load",
    "parse",
]

Lie = Literal["bad_index", "two_starts", "no_stop", "delta_without_block", "wrong_delta", "no_start", "interleaved"]
LIES: tuple[Lie, ...] = get_args(Lie)
Cut = Literal["close", "reset", "clean"]


class ScenarioError(Exception):
    """The file is not a scenario; the message names the place."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ToolCall(_Strict, frozen=True):
    """A tool_use block."""

    name: str
    input: dict[str, Any] = {}
    id: str | None = None


class BlockScript(_Strict, frozen=True):
    """One content block: exactly one of text, thinking, tool_use, raw."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    tool_use: ToolCall | None = None
    raw: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        given = [self.text, self.thinking, self.tool_use, self.raw]
        if sum(part is not None for part in given) != 1:
            raise ValueError("a block is exactly one of text, thinking, tool_use, raw")
        if self.signature is not None and self.thinking is None:
            raise ValueError("only a thinking block has a signature")
        if self.raw is not None and not isinstance(self.raw.get("type"), str):
            raise ValueError("a raw block needs a type")


class ResultExpect(_Strict, frozen=True):
    """What a tool result must be like."""

    contains: str | list[str] | None = None
    excludes: str | list[str] | None = None
    equals: str | None = None
    is_error: bool | None = None


class Expect(_Strict, frozen=True):
    """What the request must be like for this turn to be right."""

    last_tool_result: ResultExpect | None = None
    tool_results: dict[int, ResultExpect] = {}
    tool_result_count: int | None = None
    tools_include: list[str] = []
    tools_exclude: list[str] = []
    messages: int | None = None
    user: str | None = None
    system: str | None = None
    model: str | None = None
    header: dict[str, str | None] = {}
    body_includes: list[str] = []
    body_excludes: list[str] = []
    fields: dict[str, Any] = {}


class ErrorEvent(_Strict, frozen=True):
    """An `error` event."""

    type: str = "overloaded_error"
    message: str = "Overloaded"


class Fault(_Strict, frozen=True):
    """What goes wrong in a turn."""

    attempts: int | None = None
    status: int | None = None
    type: str | None = None
    message: str = "scripted error"
    headers: dict[str, str] = {}
    body: str | None = None
    content_type: str = "text/html"
    stall: bool = False
    cut: Cut | None = None
    malformed: bool = False
    error_event: ErrorEvent | None = None
    lie: Lie | None = None
    after_events: int | None = None
    after_bytes: int | None = None


class Pace(_Strict, frozen=True):
    """How the answer is spread over time and over packets."""

    first_ms: float = 0
    between_ms: float = 0
    chunk_bytes: int | None = None
    pieces: int = 4
    pings: int = 0


class Turn(_Strict, frozen=True):
    """One answer of the model."""

    text: str | None = None
    blocks: list[BlockScript] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: dict[str, Any] = {}
    message: dict[str, Any] = {}
    expect: Expect | None = None
    pace: Pace | None = None
    fault: Fault | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.blocks:
            raise ValueError("a turn has either text or blocks")


class Match(_Strict, frozen=True):
    """Which requests belong to a conversation: all given conditions hold."""

    user: str | None = None
    system: str | None = None
    model: str | None = None
    header: dict[str, str] = {}
    tool: str | list[str] = []
    no_tool: str | list[str] = []
    tools: bool | None = None
    subagent: bool | None = None
    tool_results: int | None = None


class Conversation(_Strict, frozen=True):
    """A list of answers for the requests that match."""

    turns: list[Turn]
    name: str = "main"
    match: Match = Match()


class Scenario(_Strict, frozen=True):
    """A whole file."""

    turns: list[Turn] = []
    conversations: list[Conversation] = []
    fallback: Turn = Turn(text="ok")
    pace: Pace = Pace()
    models: list[str] = msgspec.field(default_factory=lambda: ["claude-scripted-1"])
    count_tokens: int | None = None

    @property
    def all_conversations(self) -> list[Conversation]:
        """The named ones, then the top-level turns as one that matches everything."""
        return [*self.conversations, *([Conversation(turns=self.turns)] if self.turns else [])]

    @property
    def signatures(self) -> frozenset[str]:
        """The thinking signatures written in the file; they are valid besides the computed ones."""
        turns = [turn for one in self.all_conversations for turn in one.turns]
        blocks = [block for turn in [*turns, self.fallback] for block in turn.blocks]
        given = {block.signature for block in blocks if block.signature is not None}
        raw = {str(block.raw["signature"]) for block in blocks if block.raw and "signature" in block.raw}
        return frozenset(given | raw)


def parse(data: object) -> Scenario:
    """A scenario from plain data. Raises `ScenarioError`."""
    try:
        scenario = msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(str(error)) from error
    names = [one.name for one in scenario.conversations]
    if len(names) != len(set(names)):
        raise ScenarioError("conversations need different names")
    return scenario


def load(path: Path) -> Scenario:
    """A scenario from a YAML file. Raises `ScenarioError`, `OSError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: {error}") from error
    try:
        return parse(data if data is not None else {})
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from error
