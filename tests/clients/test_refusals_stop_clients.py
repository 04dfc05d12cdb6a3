"""A refusal that no waiting helps against ends the real clients at once, with our words; one that passes does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.support.claude_code import NEWER, STREAM_JSON, VERSION, ClaudeCode, Finished
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.gateway import Gateway
from tests.support.limited import limited_key, revoke
from tests.support.messages_api import Caller, asking
from tests.support.processes import until
from tests.support.project import Project, Script
from tests.support.scripts import bash, calls, says

pytestmark = pytest.mark.engine

Json = dict[str, Any]

MODEL = "claude-scripted-1"
BODY: Json = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": "go"}]}
HELLO: Json = {"turns": [says("Hello.", usage={"input_tokens": 100, "output_tokens": 50})]}
VERSIONS = pytest.mark.parametrize("version", [VERSION, NEWER])

MOST_POSTS = 2
"""One for the answer, and in some releases one for a name of the conversation."""

MOST_AFTER_400 = 6
"""2.1.330 takes every 400 for one of its betas' fault and asks again at once with fewer of them, until none of
those it can do without is left (measured: six requests in a second, whatever the message says)."""


@pytest.fixture
def counted(gateway: Gateway) -> Iterator[CountingProxy]:
    with counting_proxy(gateway.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_credentials_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def spent_key(gateway: Gateway, project: Project) -> str:
    """A key with a budget that one answer uses up."""
    _, secret = limited_key(gateway, project.subject, project.path, tokens_per_day=150)
    assert Caller(gateway.url, secret).ask(asking("use it up")).status == 200
    return secret


def narrow_key(gateway: Gateway, project: Project) -> str:
    return limited_key(gateway, project.subject, project.path, models=("qwen*",))[1]


def revoked_key(gateway: Gateway, project: Project) -> str:
    """A key that worked until just now."""
    key_id, secret = limited_key(gateway, project.subject, project.path)
    caller = Caller(gateway.url, secret)
    assert caller.ask(asking("still good")).status == 200
    revoke(gateway, key_id)
    until(lambda: caller.request("GET", "/v1/models").status_code == 401, "the end of the key", 15)
    return secret


REFUSALS = {
    "budget": (spent_key, "is used up: "),
    "model": (narrow_key, "is not allowed for the API key"),
    "revoked": (revoked_key, "invalid api key"),
}


# -- Claude Code


@VERSIONS
@pytest.mark.parametrize("refusal", REFUSALS)
def test_claude_code_ends_at_once_and_shows_why(
    refusal: str,
    version: str,
    gateway: Gateway,
    project: Project,
    script: Script,
    counted: CountingProxy,
    tmp_path: Path,
) -> None:
    upstream = script(HELLO)
    make, words = REFUSALS[refusal]
    claude = ClaudeCode(tmp_path / "home", project.path, counted.url, make(gateway, project), version)
    asked = len(upstream.lines("request"))
    run = claude.run("go", *STREAM_JSON)
    assert run.status != 0
    assert words in shown(run)
    assert 1 <= counted.posts <= (MOST_AFTER_400 if refusal == "model" else MOST_POSTS)
    assert len(upstream.lines("request")) == asked


def shown(run: Finished) -> str:
    """What a person sees at the end."""
    assert run.result["is_error"]
    return str(run.result["result"])


@VERSIONS
def test_claude_code_ends_with_what_it_has_when_the_budget_ends_on_the_way(
    version: str, gateway: Gateway, project: Project, script: Script, counted: CountingProxy, tmp_path: Path
) -> None:
    """A turn that was let in is finished; the refusal meets the next prompt."""
    work = [calls(bash("echo done > did"), usage={"input_tokens": 100, "output_tokens": 50}), says("Did it.")]
    script({"turns": work})
    secret = limited_key(gateway, project.subject, project.path, tokens_per_day=150)[1]
    claude = ClaudeCode(tmp_path / "home", project.path, counted.url, secret, version)
    first = claude.run("go")
    assert (first.status, first.stdout) == (0, "Did it.\n")
    assert (project.path / "did").read_text() == "done\n"
    before = counted.posts
    second = claude.run("more", "--continue", *STREAM_JSON)
    assert second.status != 0
    assert "is used up: " in shown(second)
    assert counted.posts - before <= MOST_POSTS


@VERSIONS
def test_claude_code_waits_for_a_limit_that_passes(
    version: str, gateway: Gateway, project: Project, script: Script, counted: CountingProxy, tmp_path: Path
) -> None:
    """250 tokens a minute, of which two answers take 300: the next one is possible in twelve seconds."""
    script(HELLO)
    secret = limited_key(gateway, project.subject, project.path, tokens_per_minute=250)[1]
    caller = Caller(gateway.url, secret)
    assert [caller.ask(asking("burst")).status for _ in range(3)] == [200, 200, 429]
    run = ClaudeCode(tmp_path / "home", project.path, counted.url, secret, version).run("go")
    assert (run.status, run.stdout) == (0, "Hello.\n")
    assert counted.posts >= 2


# -- the Python SDK


@pytest.mark.parametrize(
    ("refusal", "kind", "status"),
    [
        ("budget", anthropic.EnforcedSpendLimitReachedError, 429),
        ("model", anthropic.BadRequestError, 400),
        ("revoked", anthropic.AuthenticationError, 401),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_raises_at_once_what_it_is(
    refusal: str,
    kind: type[anthropic.APIStatusError],
    status: int,
    stream: bool,
    gateway: Gateway,
    project: Project,
    script: Script,
    counted: CountingProxy,
) -> None:
    script(HELLO)
    make, words = REFUSALS[refusal]
    with anthropic.Anthropic(base_url=counted.url, api_key=make(gateway, project), max_retries=5) as client:
        with pytest.raises(kind, match=words) as refused:
            ask(client, stream=stream)
    assert type(refused.value) is kind
    assert refused.value.status_code == status
    assert str(refused.value.request_id).startswith("req_")
    assert counted.posts == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_waits_as_it_is_told_and_goes_on(
    stream: bool, gateway: Gateway, project: Project, script: Script, counted: CountingProxy
) -> None:
    """15 requests a minute: after a burst the next one is possible in four seconds."""
    script(HELLO)
    _, secret = limited_key(gateway, project.subject, project.path, requests_per_minute=15)
    caller = Caller(gateway.url, secret)
    until(lambda: caller.ask(asking("burst")).status == 429, "the limit", 15)
    with anthropic.Anthropic(base_url=counted.url, api_key=secret, max_retries=1) as client:
        message = ask(client, stream=stream)
    assert [block.text for block in message.content if block.type == "text"] == ["Hello."]
    assert counted.posts == 2


def ask(client: anthropic.Anthropic, *, stream: bool) -> anthropic.types.Message:
    if not stream:
        return client.messages.create(**BODY)
    with client.messages.stream(**BODY) as events:
        return events.get_final_message()
