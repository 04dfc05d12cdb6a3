"""What each OpenAI-style server refuses, as data: one `ChatRules` for each dialect.

Knows servers' schemas and nothing of checking. The facts come from the vendors' API references and from error
reports of other gateways' users; where servers of one kind differ by model, the strictest widespread one counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["RULES", "ChatRules"]

_SAMPLING = {"temperature", "top_p", "stop", "stream", "n", "seed", "response_format", "logprobs", "top_logprobs"}
_TOOLS = {"tools", "tool_choice", "parallel_tool_calls"}
_OPENAI = {
    *_SAMPLING,
    *_TOOLS,
    *("model", "messages", "max_completion_tokens", "stream_options", "reasoning_effort", "frequency_penalty"),
    *("presence_penalty", "logit_bias", "metadata", "user", "safety_identifier", "prompt_cache_key", "store"),
    *("service_tier", "verbosity", "modalities", "prediction", "web_search_options", "prompt_cache_retention"),
}
_DATABRICKS = {
    *((_SAMPLING | _TOOLS) - {"seed"}),
    *("model", "messages", "max_tokens", "top_k", "stream_options", "thinking", "output_config"),
}
_MISTRAL = {
    *("model", "messages", "max_tokens", "temperature", "top_p", "stop", "stream", "n", "random_seed", "tools"),
    *("tool_choice", "parallel_tool_calls", "response_format", "stream_options", "presence_penalty"),
    *("frequency_penalty", "prediction", "prompt_mode", "safe_prompt", "metadata", "reasoning_effort"),
}


@dataclass(frozen=True)
class ChatRules:
    """The limits of one server. Lengths in characters."""

    fields: frozenset[str] | None = None
    """Top-level fields it knows; others are refused. None: others are ignored."""
    refused: frozenset[str] = frozenset()
    """Fields it refuses although it ignores unknown ones."""
    model: bool = True
    """The model is named in the body (else by the path, and refused there)."""
    system_anywhere: bool = False
    """Takes system entries after the first message."""
    roles: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})
    strict_objects: bool = False
    """Refuses unknown fields of messages, parts, tools and functions."""
    blank_text: bool = True
    """Takes texts that are empty or only white space."""
    name_on_user: bool = True
    remote_images: bool = True
    assistant_parts: frozenset[str] = frozenset({"text"})
    tool_parts: frozenset[str] = frozenset({"text"})
    tool_name: int = 64
    call_id: str = r"[^\s]{1,64}"
    """Regular expression of a call's id."""
    user_after_tool: bool = True
    """Takes a user's message right after a tool's."""
    stops: int | None = None
    empty_tools: bool = False
    """Takes `tools: []`."""
    options_without_stream: bool = False
    """Takes `stream_options` in a request that does not stream."""
    choice_without_tools: bool = False
    """Takes `tool_choice` and `parallel_tool_calls` without tools."""
    choices: frozenset[str] = frozenset({"none", "auto", "required"})
    efforts: frozenset[str] | None = None
    """Values of `reasoning_effort`; None: any."""
    pairs_only: bool = False
    """A model that is no Claude takes one call and its result at a time."""
    extra_message_fields: frozenset[str] = frozenset()
    """Further fields that a message may have where objects are strict."""


_LOCAL = ChatRules(empty_tools=True, choice_without_tools=True, options_without_stream=True)

_DATABRICKS_CHAT = ChatRules(
    fields=frozenset(_DATABRICKS),
    blank_text=False,
    name_on_user=False,
    remote_images=False,
    strict_objects=True,
    assistant_parts=frozenset({"text", "reasoning"}),
    call_id=r"[a-zA-Z0-9_-]{1,64}",
    pairs_only=True,
)

RULES: Mapping[str, ChatRules] = {
    "openai": ChatRules(
        fields=frozenset(_OPENAI),
        system_anywhere=True,
        roles=frozenset({"system", "developer", "user", "assistant", "tool"}),
        strict_objects=True,
        assistant_parts=frozenset({"text", "refusal"}),
        call_id=r"[^\s]{1,40}",
        stops=4,
        efforts=frozenset({"none", "minimal", "low", "medium", "high", "xhigh"}),
    ),
    "openrouter": ChatRules(
        system_anywhere=True,
        roles=frozenset({"system", "developer", "user", "assistant", "tool"}),
        stops=4,
        options_without_stream=True,
        efforts=frozenset({"none", "minimal", "low", "medium", "high", "xhigh"}),
    ),
    "databricks-chat": _DATABRICKS_CHAT,
    "databricks-invocations": replace(_DATABRICKS_CHAT, model=False),
    "vllm": replace(_LOCAL, options_without_stream=False, efforts=frozenset({"none", "low", "medium", "high"})),
    "ollama": replace(
        _LOCAL,
        remote_images=False,
        efforts=frozenset({"none", "low", "medium", "high"}),
        refused=frozenset({"logit_bias"}),
    ),
    "llamacpp": _LOCAL,
    "mistral": ChatRules(
        fields=frozenset(_MISTRAL),
        strict_objects=True,
        assistant_parts=frozenset({"text", "thinking"}),
        call_id=r"[a-zA-Z0-9]{9}",
        user_after_tool=False,
        choices=frozenset({"none", "auto", "required", "any"}),
        name_on_user=False,
        extra_message_fields=frozenset({"prefix"}),
        options_without_stream=True,
        choice_without_tools=True,
    ),
}
"""By the dialect's name."""
