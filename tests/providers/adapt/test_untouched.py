"""Which requests may go on as bytes."""

import pytest
from adapt_support import Json, assistant, foreign, request, searched, system, text, thinking, tool, user

from gateway.providers.adapt import ANTHROPIC, AZURE, CHAT, DATABRICKS, Capabilities, untouched

PLAIN: Json = {"system": "be kind", "tools": [tool("Bash")], "temperature": 0.5}


def body(*messages: Json, **fields: object) -> bytes:
    return request([user("hi"), *messages], **{**PLAIN, **fields}).body


SCANNED: list[tuple[Capabilities, bytes, bool]] = [
    (ANTHROPIC, body(), True),
    (ANTHROPIC, body(assistant(*searched("s"), thinking()), system("x"), thread={}, metadata={"user_id": "u"}), True),
    (ANTHROPIC, body(assistant(foreign())), False),
    (ANTHROPIC, body(user("he said bh1. to me")), True),
    (AZURE, body(), True),
    (AZURE, body(assistant("fine"), system("x"), cache_control={"type": "ephemeral"}), True),
    (AZURE, body(metadata={"user_id": "u"}), False),
    (AZURE, body(system=[text("x-anthropic-billing-header: a")]), False),
    (AZURE, body(tools=[{"type": "advisor_20260301", "name": "advisor"}]), False),
    (AZURE, body(safeguards=[]), False),
    (AZURE, body(user(text("x", cache_control={"scope": "org"}))), False),
    (AZURE, body(assistant(text(" \n"))), False),
    (AZURE, body(assistant(" ")), False),
    (AZURE, body(thinking={"type": "adaptive"}), False),
    (AZURE, body(assistant(foreign())), False),
    (AZURE, body().replace(b'"temperature"', b'"\\u0074hread"'), False),
    (Capabilities(lacks=frozenset({"attribution"})), body(system=[text("x-anthropic-billing-header: a")]), False),
    (Capabilities(lacks=frozenset({"empty_text"})), body(assistant("")), False),
    (DATABRICKS, body(), False),
    (CHAT, body(), False),
]


@pytest.mark.parametrize(("capabilities", "sent", "verdict"), SCANNED)
def test_a_body_is_forwarded_only_when_no_mark_of_work_is_in_it(
    capabilities: Capabilities, sent: bytes, verdict: bool
) -> None:
    assert untouched(sent, capabilities) is verdict


def test_headers_that_must_change_need_the_long_way() -> None:
    version = {"anthropic-version": "2023-06-01"}
    assert untouched(body(), AZURE, {**version, "anthropic-beta": "effort-2025-11-24"})
    assert not untouched(body(), AZURE, {**version, "anthropic-beta": "prompt-caching-scope-2026-01-05"})
    assert not untouched(body(), AZURE, {"anthropic-beta": "effort-2025-11-24"})
    assert untouched(body(), ANTHROPIC, {**version, "anthropic-beta": "advisor-tool-2026-03-01,x-1"})
