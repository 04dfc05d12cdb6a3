"""Bytes and JSON to fuzz readers with: pieces of right streams, of wrong ones, and noise, cut anywhere."""

import itertools
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from tests.support.hostile_answers import STRAY, chat_call, chat_text, messages_call, messages_text

Json = Any
CALL = ("Bash", {"command": "echo \u00e9 'x'"})

PARTS = [*messages_text(), *messages_call(*CALL), *STRAY]
CHAT_PARTS = [*chat_text(), *chat_call(*CALL), *STRAY]


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    at = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=10)) | {0, len(whole)})
    return [whole[begin:end] for begin, end in itertools.pairwise(at)]


def streams(right: list[list[bytes]], parts: list[bytes]) -> st.SearchStrategy[bytes]:
    """A right stream, a right beginning with something after it, a mixture, or noise."""
    joined = st.sampled_from([b"".join(one) for one in right])
    mixed = st.lists(st.one_of(st.sampled_from(parts), st.binary(max_size=5)), max_size=12).map(b"".join)
    begun = st.builds(
        lambda one, count, rest: b"".join(one[:count]) + rest, st.sampled_from(right), st.integers(0, 12), mixed
    )
    spelled = st.builds(lambda data, end: data.replace(b"\n", end), joined, st.sampled_from([b"\n", b"\r\n", b"\r"]))
    return st.one_of(begun, mixed, spelled, st.binary(max_size=80))


MESSAGES_STREAMS = streams([messages_text(), messages_call(*CALL)], PARTS)
CHAT_STREAMS = streams([chat_text(), chat_call(*CALL)], CHAT_PARTS)

words = st.text(max_size=8)
NAMES = st.sampled_from(
    [
        *("type", "text", "role", "content", "id", "name", "input", "tool_use_id", "is_error", "source", "media_type"),
        *("data", "url", "cache_control", "citations", "thinking", "signature", "title", "context", "tool_name"),
        *("gateway", "caller", "encrypted_content", "stdout", "return_code", "tools", "system", "edits", "trigger"),
        *("keep", "value", "clear_at", "effort", "schema", "format", "budget_tokens", "enabled", "properties"),
    ]
)
TYPES = st.sampled_from(
    [
        *("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result"),
        *("server_tool_use", "web_search_tool_result", "code_execution_tool_result", "tool_reference", "compaction"),
        *("container_upload", "mcp_tool_use", "mcp_tool_result", "ephemeral", "base64", "url", "file", "custom"),
        *("auto", "any", "none", "tool", "enabled", "disabled", "adaptive", "json_schema", "object", "from_the_future"),
        *("clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112", "tool_addition"),
    ]
)
json_values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(allow_nan=False), words, TYPES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=4),
        st.builds(lambda kind, fields: {**fields, "type": kind}, TYPES, st.dictionaries(NAMES, inner, max_size=3)),
    ),
    max_leaves=12,
)
"""Any JSON, in the words of the API where there are some."""


def encoded(value: Json) -> bytes:
    """Lone surrogates included, as a client may send them."""
    return json.dumps(value).encode()


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Ends a block that computes for far longer than it may; of the clock on the wall it knows nothing."""

    def over(*_: object) -> None:
        raise AssertionError(f"still computing after {limit} s")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def peak_mib() -> float:
    """The most memory the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
