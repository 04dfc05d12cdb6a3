"""`bulkhead cache` asks a running gateway, with the caller's key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.api import cache as routes
from gateway.cli.cache import app
from gateway.cli.common import CommandFailed, WrongUsage
from gateway.settings import KEY_VARIABLE
from tests.support.processes import free_port
from tests.support.small_gateway import SmallGateway, small_gateway

ANSWER = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
}


@pytest.fixture
def served(tmp_path: Path, data_dir: Path) -> Iterator[SmallGateway]:
    with small_gateway(tmp_path, routes.router) as running:
        running.run(fill(running))
        yield running


async def fill(served: SmallGateway) -> None:
    with await served.cache.seek(b"k", "alice") as place:
        assert place.keep(ANSWER)
    served.cache.bypass("alice", "tools")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_stats_show_what_is_kept_and_why_requests_went_past(served: SmallGateway) -> None:
    key = ("--key", served.key("alice"), "--url", served.url)
    shown = invoke("stats", *key).output
    assert "1 of at most 10" in shown and "tools 1" in shown and "alice" in shown
    assert '"entries": 1' in invoke("stats", *key, "--json").output


def test_a_purge_says_how_much_is_forgotten(served: SmallGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, served.key("alice"))
    assert invoke("purge", "--url", served.url).output == "Forgotten: 1 of alice.\n"
    assert '"purged": 0' in invoke("purge", "--url", served.url, "--json").output


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (lambda served: (), WrongUsage, "a key is needed"),
        (lambda served: ("--key", "bh_wrong", "--url", served.url), CommandFailed, "the key is not good"),
        (
            lambda served: ("--key", "x", "--url", f"http://127.0.0.1:{free_port()}"),
            CommandFailed,
            "no gateway answers at",
        ),
        (lambda served: ("--key", "x", "--url", "gopher://x"), WrongUsage, "is not a URL"),
        (lambda served: ("--key", served.key("a"), "--url", f"{served.url}/no"), CommandFailed, "answered 404"),
    ],
)
def test_a_mistake_is_told_in_words(
    served: SmallGateway,
    monkeypatch: pytest.MonkeyPatch,
    options: Callable[[SmallGateway], tuple[str, ...]],
    kind: type[Exception],
    said: str,
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for command in ("stats", "purge"):
        failed = invoke(command, *options(served))
        assert type(failed.exception) is kind
        assert said in str(failed.exception)
