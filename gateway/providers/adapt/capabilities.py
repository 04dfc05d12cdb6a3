"""What an upstream of the Messages API can do, as data.

Knows names of features and nothing about how a request is changed for want of one. A new upstream is a new
value here (or `dataclasses.replace` of one), not a new branch elsewhere.
"""

import re
from dataclasses import dataclass, replace

from gateway.providers.adapt.features import FEATURES, beta_owners, undated

__all__ = [
    "ANTHROPIC",
    "AZURE",
    "AZURE_HOSTED",
    "CHAT",
    "DATABRICKS",
    "SAMPLING",
    "Capabilities",
    "ThinkingRule",
    "claude_version",
]

SAMPLING = ("temperature", "top_k", "top_p")
"""Fields that API version 2026-10-21 refuses."""

_WITHOUT_SAMPLING = frozenset({"2026-10-21"})
_VERSION = re.compile(r"claude-(?:[a-z]{1,20}-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def claude_version(model: str) -> tuple[int, int] | None:
    """(4, 5) of `databricks-claude-sonnet-4-5`, (4, 0) of `claude-opus-4-20250514`; None of other names."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None


@dataclass(frozen=True, slots=True)
class ThinkingRule:
    """What Claude models from one version on take. Rules are sorted by `since`; the last that fits counts."""

    since: tuple[int, int]
    """Major and minor version as in the model's name."""
    types: frozenset[str]
    """Values of `thinking.type` that are not refused."""
    effort: bool
    """Whether `output_config.effort` is taken."""


@dataclass(frozen=True)
class Capabilities:
    """One kind of upstream. Every flag speaks of requests; answers are the provider's business."""

    lacks: frozenset[str] = frozenset()
    """Names of `FEATURES` that the upstream refuses or does not know."""
    open: bool = True
    """Whether fields, betas, tools and blocks that the gateway has never heard of are sent on."""
    betas: frozenset[str] | None = None
    """Undated beta values that may be sent. None: all but those of lacking features."""
    versions: tuple[str, ...] | None = None
    """API versions the upstream takes; the first replaces any other. None: the client's is sent."""
    own_reasoning_only: bool = False
    """Whether only thinking that this upstream and model made may be sent. Otherwise thinking that carries
    Anthropic's signature is sent too: its signatures hold on every platform that serves Claude."""
    any_reasoning: bool = True
    """Whether thinking with an empty signature is sent (Anthropic itself says what it thinks of it)."""
    sources: frozenset[str] = frozenset({"base64", "content", "file", "text", "url"})
    """Kinds of `source` that images and documents may have. Nothing is fetched here."""
    max_tokens: int | None = None
    """Upper bound of `max_tokens`, put in place of larger values; None: the client's value stands."""
    thinking: tuple[ThinkingRule, ...] = ()
    """Which ways to think are taken, by the version in the model's name. Models whose name tells no version,
    and an empty table, leave what the client asked for."""

    def __post_init__(self) -> None:
        unknown = self.lacks - FEATURES.keys()
        if unknown:
            raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")

    def thinking_rule(self, model: str) -> ThinkingRule | None:
        """The rule for a model by its name; None where nothing is known."""
        version = claude_version(model)
        if version is None:
            return None
        return next((rule for rule in reversed(self.thinking) if rule.since <= version), None)

    def has(self, feature: str) -> bool:
        """Whether the feature's fields may be sent. One that needs a header that is not sent cannot."""
        if feature in self.lacks:
            return False
        row = FEATURES[feature]
        return not row.gated or self.betas is None or bool(self.betas & set(row.betas))

    @property
    def takes_sampling(self) -> bool:
        """Whether `SAMPLING` may be sent: not where every request becomes one of a version that refuses it."""
        return self.versions is None or not _WITHOUT_SAMPLING.issuperset(self.versions)

    def takes_beta(self, value: str) -> bool:
        """Whether a value of `anthropic-beta` may be sent."""
        if self.betas is not None:
            return undated(value) in self.betas
        owners = list(beta_owners(value))
        return all(self.has(owner) for owner in owners) if owners else self.open


_MANUAL = frozenset({"disabled", "enabled"})
_BOTH = _MANUAL | {"adaptive"}
_ADAPTIVE = frozenset({"adaptive", "between_tools", "disabled"})

_CLAUDE_THINKING = (
    ThinkingRule((0, 0), frozenset({"disabled"}), effort=False),
    ThinkingRule((3, 7), _MANUAL, effort=False),
    ThinkingRule((4, 6), _BOTH, effort=True),
    ThinkingRule((4, 7), _ADAPTIVE, effort=True),
)

ANTHROPIC = Capabilities()
"""The vendor's own endpoint, and any that claims to be as good: everything is sent as it came, but for
thinking that the gateway signed in another model's name."""

AZURE = Capabilities(
    lacks=frozenset(
        {
            "advisor",
            "attribution",
            "billing_policy",
            "browser_toolset",
            "cache_scope",
            "computer_toolset",
            "diagnostics",
            "empty_text",
            "fallback_credit",
            "fallbacks",
            "fast_mode",
            "inference_geo",
            "request_tags",
            "safeguards",
            "service_tier",
            "threads",
            "user_id",
        }
    ),
    any_reasoning=False,
    thinking=_CLAUDE_THINKING,
)
"""Microsoft Foundry, deployments hosted on Anthropic's side."""

AZURE_HOSTED = replace(
    AZURE,
    lacks=AZURE.lacks
    | {
        "code_execution",
        "deferred_tools",
        "mcp",
        "programmatic_tools",
        "structured_outputs",
        "tool_search",
        "web_fetch",
        "web_search",
    },
    sources=frozenset({"base64", "content", "text", "url"}),
)
"""Microsoft Foundry, deployments hosted on Azure: no server tools, no files, no structured outputs."""

DATABRICKS = Capabilities(
    lacks=AZURE_HOSTED.lacks - {"structured_outputs"}
    | {
        "cache_ttl",
        "compaction",
        "context_management",
        "input_examples",
        "system_messages",
        "task_budgets",
        "thinking_binding",
        "thinking_updates",
        "tool_streaming",
    },
    open=False,
    betas=frozenset({"context-1m", "interleaved-thinking"}),
    versions=("2023-06-01",),
    any_reasoning=False,
    sources=frozenset({"base64", "content", "text"}),
    thinking=(*_CLAUDE_THINKING, ThinkingRule((5, 5), frozenset({"adaptive"}), effort=True)),
)
"""The Anthropic-native route of Databricks serving endpoints. Which platform serves a model there is not told,
so only header values that every one of them takes are sent."""

CHAT = Capabilities(
    lacks=DATABRICKS.lacks,
    open=False,
    betas=frozenset(),
    versions=("2023-06-01",),
    own_reasoning_only=True,
    any_reasoning=False,
    sources=frozenset({"base64", "content", "text", "url"}),
)
"""What the translator to the OpenAI chat API can carry. What one server of that API lacks is its dialect."""
