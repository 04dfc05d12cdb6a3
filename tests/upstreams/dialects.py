"""The servers that the fake upstreams can be: what sets one apart from the others, as data.

Knows names, paths and forms. What a server refuses in a body is in `chat_rules` and `strict_messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["DIALECTS", "CallForm", "Dialect", "ErrorForm", "Thinking", "TokenForm"]

Thinking = Literal["blocks", "summary", "reasoning", "reasoning_content", "details", "parts", "none"]
"""How thinking is told: Messages blocks; a content list with a signed summary (Databricks); a field of the message
and of deltas; OpenRouter's details beside the field; a content list with thinking parts (Mistral); not at all."""

ErrorForm = Literal["anthropic", "databricks", "openai", "mistral", "vllm", "llamacpp", "openrouter"]
TokenForm = Literal["databricks", "entra"]
CallForm = Literal["fragments", "whole", "whole at finish"]
"""A call's arguments come in fragments, in one delta, or in the chunk that also finishes and counts."""


@dataclass(frozen=True)
class Dialect:
    """One server. Paths are regular expressions for the whole path."""

    name: str
    path: str
    messages_api: bool = False
    schemes: frozenset[str] = frozenset({"bearer"})
    """Ways in which it reads a credential: bearer, basic, x-api-key, api-key."""
    anonymous: bool = False
    """Answers without a credential too."""
    tokens: TokenForm | None = None
    """It has a token endpoint; tokens from there are credentials besides the secret."""
    count_path: str | None = None
    models_path: str | None = None
    error: ErrorForm = "openai"
    thinking: Thinking = "none"
    call: CallForm = "fragments"
    call_prefix: str = "call_"
    call_length: int = 24
    usage_asked: bool = True
    """Counts come in a stream only when `stream_options` asks for them."""
    comments: bool = False
    """Sends comment lines while it prepares."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of its answers: the upstream's identity, which no client may see."""
    metrics: bool = False
    """Adds the Bedrock metrics to the last event."""


_ANTHROPIC = Dialect(
    name="anthropic",
    path="/v1/messages",
    messages_api=True,
    schemes=frozenset({"x-api-key", "bearer"}),
    count_path="/v1/messages/count_tokens",
    models_path="/v1/models",
    error="anthropic",
    thinking="blocks",
    headers={
        "anthropic-organization-id": "org-of-the-operator",
        "anthropic-ratelimit-requests-limit": "50",
        "cf-ray": "ray-1",
        "via": "1.1 edge",
    },
)
_AZURE = replace(
    _ANTHROPIC,
    name="azure",
    path="/anthropic/v1/messages",
    schemes=frozenset({"x-api-key", "api-key", "bearer"}),
    tokens="entra",
    count_path="/anthropic/v1/messages/count_tokens",
    models_path=None,
    headers={"apim-request-id": "apim-1", "x-ms-region": "region-1"},
)
_DATABRICKS_HEADERS = {"x-databricks-org-id": "1234567890", "x-request-id": "dbx-1"}
_DATABRICKS = Dialect(
    name="databricks-chat",
    path="/serving-endpoints/chat/completions",
    schemes=frozenset({"bearer", "basic"}),
    tokens="databricks",
    error="databricks",
    thinking="summary",
    call_prefix="toolu_bdrk_",
    usage_asked=False,
    headers=_DATABRICKS_HEADERS,
)
_OPENAI = Dialect(
    name="openai",
    path="/v1/chat/completions",
    models_path="/v1/models",
    headers={"x-request-id": "req_openai", "openai-organization": "operator", "openai-processing-ms": "12"},
)
_LOCAL = replace(_OPENAI, anonymous=True, headers={})

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        _ANTHROPIC,
        _AZURE,
        replace(_AZURE, name="azure-hosted"),
        replace(
            _DATABRICKS,
            name="databricks-anthropic",
            path="/serving-endpoints/anthropic/v1/messages",
            messages_api=True,
            thinking="blocks",
            metrics=True,
        ),
        _DATABRICKS,
        replace(_DATABRICKS, name="databricks-invocations", path=r"/serving-endpoints/[^/]+/invocations"),
        _OPENAI,
        replace(
            _LOCAL,
            name="vllm",
            error="vllm",
            thinking="reasoning",
            call_prefix="chatcmpl-tool-",
            call_length=32,
        ),
        replace(_LOCAL, name="ollama", thinking="reasoning", call="whole", call_length=8),
        replace(
            _LOCAL,
            name="llamacpp",
            error="llamacpp",
            thinking="reasoning_content",
            call_prefix="",
            call_length=32,
        ),
        replace(
            _OPENAI,
            name="openrouter",
            path="/api/v1/chat/completions",
            models_path="/api/v1/models",
            error="openrouter",
            thinking="details",
            usage_asked=False,
            comments=True,
            headers={"x-generation-id": "gen-1"},
        ),
        replace(
            _OPENAI,
            name="mistral",
            error="mistral",
            thinking="parts",
            call="whole at finish",
            call_prefix="",
            call_length=9,
            usage_asked=False,
            headers={"mistral-correlation-id": "cor-1"},
        ),
    )
}
