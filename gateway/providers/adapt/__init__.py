"""From a request of the newest Messages API to one that an upstream understands, as pure functions over data.

Knows the Messages API and what kinds of upstreams lack of it. Must not know other APIs, sockets, credentials or
settings. `adapt` is the door; values of `Capabilities` say what an upstream can do, one file per idea says what is
done about the rest.
"""

from gateway.providers.adapt.answer import answered
from gateway.providers.adapt.capabilities import (
    ANTHROPIC,
    AZURE,
    AZURE_HOSTED,
    CHAT,
    DATABRICKS,
    Capabilities,
    ThinkingRule,
)
from gateway.providers.adapt.compacting import with_compaction
from gateway.providers.adapt.counting import estimate_edited
from gateway.providers.adapt.pipeline import Adapted, adapt
from gateway.providers.adapt.untouched import untouched

__all__ = [
    "ANTHROPIC",
    "AZURE",
    "AZURE_HOSTED",
    "CHAT",
    "DATABRICKS",
    "Adapted",
    "Capabilities",
    "ThinkingRule",
    "adapt",
    "answered",
    "estimate_edited",
    "untouched",
    "with_compaction",
]
