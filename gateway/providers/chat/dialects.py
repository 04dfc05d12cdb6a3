"""How servers that speak chat completions differ: one record of flags each, no code.

The translator reads these flags and never a server's name. Must not know requests, streams or HTTP.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

__all__ = ["DIALECTS", "Dialect", "dialect"]

Ask = Literal["effort", "switch", "template", "budget", "adaptive", "reasoning"]
_EFFORTS: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_ID_CHARACTERS = r"[\x21-\x7e]"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of server takes and gives. The defaults are what nearly all of them share."""

    name: str
    root: str = "/v1"
    """Path put in front of `/chat/completions` when a configured URL has none."""

    # Limits and sampling
    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` at OpenAI, whose reasoning models refuse the older name."""
    max_output_tokens: int | None = None
    """Most output tokens the model allows; larger wishes are cut down to it. None: unknown."""
    context_tokens: int | None = None
    """Size of the context window, to tell a full window from a reached `max_tokens`. None: unknown."""
    sampling: bool = True
    """Takes `temperature` and `top_p`."""
    top_k: bool = False
    stop_limit: int = 4
    """Stop sequences the server takes; what is beyond is enforced on our side."""

    # Streams
    stream_usage: bool = True
    """Must be asked for token counts with `stream_options`; False where they come unasked or the field is refused."""
    streams_tools: bool = True
    streams_format: bool = True
    """False: with tools (with a response format) the answer is asked for whole."""

    # Tools
    tool_choice: Literal["no", "words", "full"] = "full"
    """`words`: only auto, none and required; `full`: also one function by name; `no`: ignored or refused."""
    parallel_tool_calls: Literal["no", "off", "always"] = "off"
    """The field: unknown; sent to switch parallel calls off; or sent always, because its default is off."""
    tool_name_length: int = 64
    tool_description_length: int | None = None
    """Longer descriptions are continued in the system prompt."""
    tool_id: str = _ID_CHARACTERS + "{1,40}"
    """Pattern of a call id; others are replaced by derived ones."""
    tool_id_length: int = 24
    """Letters and digits of a derived id."""
    schema_drop: frozenset[str] = frozenset()
    """JSON Schema keywords the server refuses."""
    calls_in_pairs: bool = False
    """A tool message must stand directly after an assistant message with that one call."""
    declares_called_tools: bool = False
    """A history with calls needs a `tools` list even when the request has none."""
    response_format: Literal["json_schema", "json_object", "tool", "prompt"] = "json_schema"
    """How JSON output is asked for; `tool`: a forced call whose arguments are the answer."""

    # Messages
    images: Literal["none", "base64", "url"] = "url"
    """`url`: also by address."""
    images_in_results: bool = False
    """A tool message may hold image parts."""
    documents: bool = False
    """Takes PDF files as `file` parts."""
    system_midway: bool = False
    """Takes system messages in the middle of a conversation; else they become tagged user text."""
    empty_result: str = ""
    """What stands for a tool result without text; a server that refuses "" gets a word."""
    after_results: str | None = None
    """Text of the assistant message put between tool results and a user message, where one must stand."""
    cache_control: bool = False
    """Takes `cache_control` on text parts."""
    continues: bool = False
    """Goes on from a last assistant message; others take it for finished, or refuse it, and are asked in words."""
    prefill_message: Mapping[str, Any] = field(default_factory=dict)
    prefill_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields that make the server continue a last assistant message, on that message and in the body."""

    # Reasoning
    asks: tuple[Ask, ...] = ()
    """How reasoning is asked for: `reasoning_effort`; a `thinking` switch; chat template arguments; a
    `thinking` budget; adaptive `thinking` with `output_config`; OpenRouter's `reasoning` object."""
    efforts: Mapping[str, str] = field(default_factory=lambda: _EFFORTS)
    """The server's word for each of our efforts."""
    effort_off: str | None = None
    """Its word for no reasoning; None: nothing is sent."""
    reasoning_back: Literal["no", "reasoning_content", "reasoning", "reasoning_details", "content"] = "no"
    """Where the model's own earlier reasoning goes: an assistant field, OpenRouter's list, or the content list."""
    reasoning_back_always: bool = False
    """Also that of finished turns; else only within the tool loop under way."""

    models: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Differences between models of one server: (pattern searched in the model's name, changed flags)."""

    def for_model(self, model: str) -> "Dialect":
        """The flags for one model: every row of `models` that fits, in order."""
        return _for_model(self.name, model, self) if self.models else self

    def __hash__(self) -> int:
        return hash(self.name)


@lru_cache(maxsize=512)
def _for_model(name: str, model: str, base: Dialect) -> Dialect:
    changes: dict[str, Any] = {}
    for pattern, flags in base.models:
        if re.search(pattern, model, re.IGNORECASE):
            changes |= flags
    return replace(base, models=(), **changes)


_MISTRAL_IDS: Mapping[str, Any] = {"tool_id": "[a-zA-Z0-9]{9}", "tool_id_length": 9}
_MISTRAL_ORDER: Mapping[str, Any] = {"after_results": "Understood."}
_MISTRAL_NAMES = r"mistral|mixtral|ministral|devstral|codestral|magistral|pixtral"
_LOCAL_MISTRAL = (_MISTRAL_NAMES, {**_MISTRAL_IDS, **_MISTRAL_ORDER, "asks": ()})
_OPENAI_REASONING = (
    r"(?:^|[/.])(?:o[1-9]|gpt-5|gpt-oss|codex)",
    {"asks": ("effort",), "sampling": False},
)
_CLAUDE = r"claude"
_CLAUDE_ADAPTIVE = r"claude-(?:[a-z]+-)?(?:4[-.][6-9]|[5-9])|claude-(?:fable|mythos)"
_OPENAI: Mapping[str, Any] = {
    "max_tokens_field": "max_completion_tokens",
    "system_midway": True,
    "documents": True,
    "models": (_OPENAI_REASONING,),
}
_DATABRICKS: Mapping[str, Any] = {
    "root": "/serving-endpoints",
    "stream_usage": False,
    "parallel_tool_calls": "no",
    "images": "base64",
    "empty_result": "(no output)",
}
_DATABRICKS_CLAUDE: Mapping[str, Any] = {
    "cache_control": True,
    "calls_in_pairs": False,
    "response_format": "tool",
    "declares_called_tools": True,
    "asks": ("budget",),
    "reasoning_back": "content",
    "reasoning_back_always": True,
}
_ADAPTIVE: Mapping[str, Any] = {"asks": ("adaptive",), "sampling": False}

_TABLE = (
    Dialect("openai", **_OPENAI),
    Dialect("azure-openai", root="/openai/v1", tool_description_length=1024, **_OPENAI),
    Dialect(
        "vllm",
        continues=True,
        top_k=True,
        asks=("effort", "template"),
        reasoning_back="reasoning_content",
        prefill_body={"add_generation_prompt": False, "continue_final_message": True},
        models=(_LOCAL_MISTRAL,),
    ),
    Dialect(
        "sglang",
        continues=True,
        top_k=True,
        asks=("effort", "template"),
        reasoning_back="reasoning_content",
        prefill_body={"continue_final_message": True},
        models=(_LOCAL_MISTRAL,),
    ),
    Dialect(
        "llama.cpp",
        top_k=True,
        tool_choice="words",
        parallel_tool_calls="always",
        images="base64",
        asks=("template",),
        reasoning_back="reasoning_content",
    ),
    Dialect(
        "ollama",
        continues=True,
        tool_choice="no",
        parallel_tool_calls="no",
        images="base64",
        reasoning_back="reasoning",
        models=((r"gpt-oss", {"asks": ("effort",)}),),
    ),
    Dialect(
        "openrouter",
        root="/api/v1",
        top_k=True,
        documents=True,
        cache_control=True,
        asks=("reasoning",),
        efforts={**_EFFORTS, "xhigh": "xhigh", "max": "xhigh"},
        reasoning_back="reasoning_details",
        reasoning_back_always=True,
        models=((_MISTRAL_NAMES, {**_MISTRAL_IDS, **_MISTRAL_ORDER}), (_CLAUDE, {"declares_called_tools": True})),
    ),
    Dialect(
        "mistral",
        continues=True,
        stream_usage=False,
        prefill_message={"prefix": True},
        **_MISTRAL_IDS,
        **_MISTRAL_ORDER,
    ),
    Dialect(
        "deepseek",
        root="",
        parallel_tool_calls="no",
        stop_limit=16,
        images="none",
        response_format="json_object",
        asks=("switch",),
        reasoning_back="reasoning_content",
    ),
    Dialect(
        "databricks",
        calls_in_pairs=True,
        streams_format=False,
        models=((_CLAUDE, {**_DATABRICKS_CLAUDE, "streams_format": True}), (_CLAUDE_ADAPTIVE, _ADAPTIVE)),
        **_DATABRICKS,
    ),
    Dialect(
        "databricks-claude",
        models=((_CLAUDE_ADAPTIVE, _ADAPTIVE),),
        **_DATABRICKS,
        **_DATABRICKS_CLAUDE,
    ),
    Dialect("generic", images="base64", parallel_tool_calls="no"),
)

DIALECTS: Mapping[str, Dialect] = {entry.name: entry for entry in _TABLE}
"""Every named dialect. `databricks` tells Claude from other models by the endpoint's name; endpoints with
names of their own take `databricks-claude`. `generic` asks for nothing that a simple server may not know."""


def dialect(name: str, **changes: Any) -> Dialect:
    """A named dialect with some flags changed, as configuration does. Raises `ValueError` for a name or a flag
    that does not exist. Flags given here stand over those of single models."""
    found = DIALECTS.get(name)
    if found is None:
        raise ValueError(f"no chat dialect is called {name!r}; there are {', '.join(DIALECTS)}")
    if not changes:
        return found
    try:
        changed = replace(found, **{name: _plain(name, value) for name, value in changes.items()})
    except TypeError as error:
        raise ValueError(f"no such flag of a chat dialect: {', '.join(changes)}") from error
    flags = {name: getattr(changed, name) for name in changes}
    return replace(changed, models=(*changed.models, ("", flags)))


def _plain(name: str, value: Any) -> Any:
    """Lists, as configuration files have them, in the form that flags are kept in."""
    if not isinstance(value, list):
        return value
    return frozenset(value) if name == "schema_drop" else tuple(value)
