"""GET and DELETE /api/cache: each subject sees and forgets its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api import cache
from tests.support.small_gateway import SmallGateway, small_gateway

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SmallGateway]:
    with small_gateway(tmp_path, cache.router) as running:
        for subject, names in {"alice": "ab", "bob": "c"}.items():
            for name in names:
                running.run(fill(running, name.encode(), subject))
        yield running


async def fill(served: SmallGateway, name: bytes, subject: str) -> None:
    for _ in range(2):
        with await served.cache.seek(name, subject) as place:
            if place.hit is None:
                assert place.keep(ANSWER)


def ask(served: SmallGateway, method: str, subject: str) -> Any:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        answer = client.request(method, "/api/cache", headers={"x-api-key": served.key(subject)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_subject_sees_its_own_share_and_the_common_bounds(served: SmallGateway) -> None:
    told = ask(served, "GET", "alice")
    assert {name: told[name] for name in ("enabled", "subject", "entries", "hits", "misses", "kept")} == {
        "enabled": True,
        "subject": "alice",
        "entries": 2,
        "hits": 2,
        "misses": 2,
        "kept": 2,
    }
    assert (told["max_entries"], told["max_bytes"], told["ttl_seconds"]) == (10, 1_000_000, 300)
    assert 0 < told["bytes"] < told["max_bytes"]
    assert ask(served, "GET", "carol")["entries"] == 0


def test_a_purge_forgets_the_subjects_answers_and_nobody_elses(served: SmallGateway) -> None:
    assert ask(served, "DELETE", "alice") == {"subject": "alice", "purged": 2}
    assert ask(served, "DELETE", "alice") == {"subject": "alice", "purged": 0}
    assert (ask(served, "GET", "alice")["entries"], ask(served, "GET", "bob")["entries"]) == (0, 1)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_cache_needs_a_key(served: SmallGateway, method: str) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        assert client.request(method, "/api/cache", headers={"x-api-key": "bh_no"}).status_code == 401
    assert ask(served, "GET", "bob")["entries"] == 1
