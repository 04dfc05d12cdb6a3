"""What the Messages API has beyond its core, as one table: the header values, fields and blocks of each feature.

A field without its beta header, or the header without its field, is answered by vendors with 400; so both are
named in one row and go or stay together. Knows names only; must not know which upstream lacks what.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "BLOCK_OWNERS",
    "CALL_OWNERS",
    "CORE_FIELDS",
    "FEATURES",
    "Feature",
    "beta_owners",
    "tool_owner",
    "undated",
]


@dataclass(frozen=True, slots=True)
class Feature:
    """One row. All matching is on what a client may send; nothing here is checked against a schema."""

    what: str
    """For the documentation: what an upstream without it does not know."""
    betas: tuple[str, ...] = ()
    """Values of `anthropic-beta` that ask for it, without their dates."""
    fields: tuple[str, ...] = ()
    """Fields of the body; `a.b` is the field b inside the object a."""
    gated: bool = False
    """Whether vendors refuse the fields when the beta header is missing."""
    tools: tuple[str, ...] = ()
    """Types of entries of `tools`, without their dates."""
    tool_fields: tuple[str, ...] = ()
    """Optional fields of any entry of `tools`."""
    call_fields: tuple[str, ...] = ()
    """Optional fields of `tool_use` blocks."""
    calls: tuple[str, ...] = ()
    """Names under which a server tool of this feature stands in `server_tool_use` blocks."""
    blocks: tuple[str, ...] = ()
    """Types of content blocks that only this feature makes."""


CORE_FIELDS = frozenset(
    {
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
"""Fields that every upstream of the Messages API takes."""

FEATURES: Mapping[str, Feature] = {
    "advisor": Feature(
        "a second model asked for advice by the API",
        betas=("advisor-tool",),
        tools=("advisor",),
        calls=("advisor",),
        blocks=("advisor_tool_result",),
    ),
    "attribution": Feature("the client's billing line as first block of the system prompt"),
    "billing_policy": Feature("who pays for a request", fields=("billing_policy",)),
    "browser_toolset": Feature(
        "the browser toolset of the client", tools=("browser_toolset",), call_fields=("toolset_name",)
    ),
    "cache_control": Feature("marks for prompt caching", betas=("prompt-caching",), fields=("cache_control",)),
    "cache_scope": Feature("`scope` in marks for prompt caching", betas=("prompt-caching-scope",)),
    "cache_ttl": Feature("`ttl` in marks for prompt caching", betas=("extended-cache-ttl",)),
    "code_execution": Feature(
        "code run by the API in a container, its skills and its files",
        betas=("code-execution", "skills", "files-api"),
        fields=("container",),
        tools=("code_execution",),
        calls=("bash_code_execution", "code_execution", "text_editor_code_execution"),
        blocks=(
            "bash_code_execution_tool_result",
            "code_execution_tool_result",
            "text_editor_code_execution_tool_result",
        ),
    ),
    "compaction": Feature(
        "summaries in place of old messages",
        betas=("compact",),
        fields=("compaction",),
        gated=True,
        blocks=("compaction",),
    ),
    "computer_toolset": Feature("the computer toolset of the client", tools=("computer_toolset",)),
    "context_management": Feature(
        "old tool results and thinking removed by the API",
        betas=("context-management",),
        fields=("context_management",),
        gated=True,
    ),
    "deferred_tools": Feature(
        "tools that are loaded when a reference names them, and tools that come and go in mid-conversation",
        betas=("advanced-tool-use", "inline-tools", "mid-conversation-tool-changes", "tool-search-tool"),
        tool_fields=("defer_loading",),
    ),
    "diagnostics": Feature("why a prompt cache missed", ("cache-diagnosis",), ("diagnostics",), gated=True),
    "effort": Feature("how hard a model should try", ("effort",), ("output_config.effort",)),
    "empty_text": Feature("assistant text blocks without a visible character"),
    "fallback_credit": Feature(
        "credit for answers of a fallback", ("fallback-credit",), ("fallback_credit_token",), gated=True
    ),
    "fallbacks": Feature(
        "another model of the vendor in place of a refusal",
        ("server-side-fallback",),
        ("fallbacks",),
        gated=True,
        blocks=("fallback",),
    ),
    "fast_mode": Feature("a faster service of the same model", ("fast-mode",), ("speed",), gated=True),
    "inference_geo": Feature("where a request is served", fields=("inference_geo",)),
    "input_examples": Feature("examples beside a tool's schema", tool_fields=("input_examples",)),
    "mcp": Feature(
        "MCP servers called by the API",
        betas=("mcp-client", "mcp-tunnels"),
        fields=("mcp_servers",),
        gated=True,
        tools=("mcp_toolset",),
        blocks=("mcp_tool_listing", "mcp_tool_result", "mcp_tool_use"),
    ),
    "programmatic_tools": Feature(
        "client tools called from the API's code execution",
        tool_fields=("allowed_callers",),
        call_fields=("caller",),
    ),
    "request_tags": Feature("labels for the vendor's reports", ("request-tags",), ("tags",), gated=True),
    "safeguards": Feature("a safety verdict beside the answer", ("auto-mode-classifier",), ("safeguards",)),
    "service_tier": Feature("capacity bought in advance", fields=("service_tier",)),
    "structured_outputs": Feature(
        "answers that follow a JSON schema",
        ("structured-outputs",),
        ("output_config.format", "output_format"),
        tool_fields=("strict",),
    ),
    "system_messages": Feature(
        "`role: system` between the turns",
        betas=("mid-conversation-system", "mid-conversation-output-config", "per-turn-control"),
    ),
    "task_budgets": Feature(
        "a token budget told to the model", ("task-budgets",), ("output_config.task_budget",), gated=True
    ),
    "thinking_binding": Feature(
        "what happens to thinking whose prefix changed",
        ("thinking-binding-controls",),
        ("thinking.block_binding",),
        gated=True,
    ),
    "thinking_updates": Feature(
        "progress notes in place of thinking",
        ("thinking-display-updates", "thinking-token-count", "redact-thinking"),
    ),
    "threads": Feature("conversations that the vendor keeps", ("message-threads",), ("thread",), gated=True),
    "token_efficient_tools": Feature("a shorter wording of tool calls", ("token-efficient-tools",)),
    "tool_search": Feature(
        "a search over deferred tools, run by the API",
        tools=("tool_search_tool",),
        calls=("tool_search_tool_bm25", "tool_search_tool_regex"),
        blocks=("tool_search_tool_result",),
    ),
    "tool_streaming": Feature(
        "tool inputs streamed before they are checked",
        ("fine-grained-tool-streaming",),
        tool_fields=("eager_input_streaming",),
    ),
    "user_id": Feature("who sits before the client: personal data of the client", fields=("metadata.user_id",)),
    "web_fetch": Feature(
        "pages fetched by the API",
        ("web-fetch",),
        tools=("web_fetch",),
        calls=("web_fetch",),
        blocks=("web_fetch_tool_result",),
    ),
    "web_search": Feature(
        "searches made by the API",
        ("web-search",),
        tools=("web_search",),
        calls=("web_search",),
        blocks=("web_search_tool_result",),
    ),
}
"""Every feature by its name. Names, header values and fields that are not listed are unknown, never wrong."""


def _owners(column: str) -> Mapping[str, str]:
    return {item: name for name, feature in FEATURES.items() for item in getattr(feature, column)}


CALL_OWNERS = _owners("calls")
"""The feature that each name in a `server_tool_use` block belongs to."""

BLOCK_OWNERS = _owners("blocks")
"""The feature that each special block type belongs to."""

_TOOL_OWNERS = _owners("tools")
_BETA_OWNERS: Mapping[str, frozenset[str]] = {
    beta: frozenset(name for name, feature in FEATURES.items() if beta in feature.betas)
    for beta in {beta for feature in FEATURES.values() for beta in feature.betas}
}


def undated(value: str) -> str:
    """`web_search` of `web_search_20250305`, `effort` of `effort-2025-11-24`."""
    return value.rstrip("-_0123456789") if value[-1:].isdigit() else value


def tool_owner(type: str) -> str | None:  # noqa: A002 - the field's name on the wire
    """The feature that an entry of `tools` with this type belongs to; None for client tools and unknown ones."""
    kind = undated(type)
    found = _TOOL_OWNERS.get(kind)
    if found is None and kind.startswith("tool_search_tool"):
        return "tool_search"
    return found


def beta_owners(value: str) -> Iterable[str]:
    """The features that a value of `anthropic-beta` asks for; none for unknown values."""
    return _BETA_OWNERS.get(undated(value), frozenset())
