"""`bulkhead upstreams`, against a scripted upstream and one that is not there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import ScriptedUpstream

Bulkhead = Callable[..., Any]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedUpstream]:
    scenario = {"fallback": {"text": "ok"}, "models": ["claude-big", "claude-haiku-1"]}
    upstream = ScriptedUpstream(scenario, tmp_path_factory.mktemp("upstream"))
    yield upstream
    upstream.stop()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


@pytest.fixture
def file(scripted: ScriptedUpstream, closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "upstreams.yaml"
    path.write_text(
        f"""
default: good
upstreams:
  good: {{kind: anthropic, url: "{scripted.url}", credential: {{env: GOOD_KEY}}}}
  gone:
    kind: azure
    url: "http://127.0.0.1:{closed_port}/anthropic?code=hidden"
    credential: {{env: GONE_KEY, scheme: both}}
    proxy: http://me:hidden@127.0.0.1:1
    no_proxy: "*"
models:
  claude-one: {{upstream: good, model: claude-haiku-1, max_tokens: 100, fallback: [{{upstream: gone, model: d}}]}}
"""
    )
    monkeypatch.setenv("BULKHEAD_UPSTREAMS", str(path))
    monkeypatch.setenv("GOOD_KEY", "sk-good-secret")
    monkeypatch.setenv("GONE_KEY", "sk-gone-secret")
    return path


def test_the_list_shows_upstreams_and_names_and_asks_nobody(
    bulkhead: Bulkhead, file: Path, scripted: ScriptedUpstream
) -> None:
    before = len(scripted.lines("request"))
    shown = bulkhead("upstreams", "list")
    assert shown.code == 0
    for expected in ("good (default)", "x-api-key", "both", "claude-one", "good: claude-haiku-1", "gone: d", str(file)):
        assert expected in shown.out
    assert len(scripted.lines("request")) == before


def test_no_secret_is_ever_shown(bulkhead: Bulkhead, file: Path) -> None:
    for arguments in (("list",), ("list", "--json"), ("check",), ("check", "--json")):
        ran = bulkhead("upstreams", *arguments)
        for secret in ("sk-good-secret", "sk-gone-secret", "hidden"):
            assert secret not in ran.out + ran.err


def test_the_list_as_json_is_the_whole_configuration(bulkhead: Bulkhead, file: Path, closed_port: int) -> None:
    listed = bulkhead("upstreams", "list", "--json").json()
    assert (listed["default"], listed["discovery"], listed["source"]) == ("good", True, str(file))
    good, gone = listed["upstreams"]
    assert (good["kind"], good["credential"], good["attempts"]) == ("anthropic", "x-api-key", 3)
    assert (gone["url"], gone["proxy"]) == (f"http://127.0.0.1:{closed_port}/anthropic", "http://127.0.0.1:1")
    assert listed["models"][0]["targets"] == ["good: claude-haiku-1", "gone: d"]


def test_a_check_asks_each_for_one_token_and_says_who_does_not_answer(
    bulkhead: Bulkhead, file: Path, scripted: ScriptedUpstream
) -> None:
    ran = bulkhead("upstreams", "check", "--json")
    good, gone = ran.json()
    assert (good["upstream"], good["ok"], good["model"], good["problem"]) == ("good", True, "claude-haiku-1", None)
    assert good["first_ms"] <= good["whole_ms"]
    assert (gone["ok"], gone["model"]) == (False, "d")
    assert "could not connect" in gone["problem"]
    assert (ran.code, "gone did not answer" in ran.err) == (1, True)
    assert scripted.lines("request")[-1]["body"]["max_tokens"] == 1


def test_one_upstream_can_be_checked_alone_with_a_model(bulkhead: Bulkhead, file: Path) -> None:
    ran = bulkhead("upstreams", "check", "good", "--model", "claude-big")
    assert ran.code == 0
    assert "claude-big" in ran.out
    assert "gone" not in ran.out


def test_a_model_is_taken_from_the_upstreams_own_list(
    bulkhead: Bulkhead, scripted: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_ENDPOINT", scripted.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-good-secret")
    (checked,) = bulkhead("upstreams", "check", "--json").json()
    assert (checked["upstream"], checked["model"], checked["ok"]) == ("anthropic", "claude-haiku-1", True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("check", "other"), 2, "there is no upstream 'other'; there are good, gone."),
        (("check", "--model", "x"), 2, "--model needs the name of one upstream."),
        (("burn",), 2, "burn"),
    ],
)
def test_wrong_usage_is_told_in_words(
    bulkhead: Bulkhead, file: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    failed = bulkhead("upstreams", *arguments)
    assert failed.code == code
    assert said in failed.err


def test_a_broken_file_is_told_in_words(bulkhead: Bulkhead, file: Path) -> None:
    file.write_text("upstreams: {a: {kind: other}}")
    failed = bulkhead("upstreams", "list")
    assert failed.code == 2
    assert "upstreams.a.kind" in failed.err
