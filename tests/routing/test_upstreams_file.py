"""The upstreams file: what it can say, and that every mistake is told with file, place and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.routing.file import UpstreamsFileError, plan_of_file
from gateway.routing.plan import RoutingPlan
from gateway.routing.route import ModelRoute, Target
from gateway.settings import Settings

WHOLE = """
default: anthropic
discovery: false
upstreams:
  anthropic:
    kind: anthropic
    url: https://api.anthropic.com
    credential: {env: VENDOR_KEY}
    concurrency: 7
  azure:
    kind: azure
    url: https://unit.services.ai.azure.com/anthropic
    oauth: {client_id: app, client_secret: {file: SECRET_FILE}, tenant_id: t-1}
    hosted_on_azure: true
    without: [web_search]
    with: [structured_outputs]
    proxy: http://proxy.corp:3128
    no_proxy: .corp
    timeouts: {connect: 3, silence: 60}
    headers: {X-Team: platform}
models:
  claude-opus-5-5:
    upstream: azure
    model: opus-deployment
    fallback:
      - {upstream: anthropic}
    display_name: Opus
    max_tokens: 32000
  claude-haiku-*: {upstream: anthropic}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, upstream_attempts=5, upstream_ca_file=None)


def planned(folder: Path, text: str, settings: Settings, **environ: str) -> RoutingPlan:
    file = folder / "upstreams.yaml"
    file.write_text(text)
    return plan_of_file(file, settings, environ)


def test_a_whole_file_becomes_a_plan(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    text = WHOLE.replace("SECRET_FILE", str(tmp_path / "secret"))
    plan = planned(tmp_path, text, settings, VENDOR_KEY="from-env", HTTPS_PROXY="http://usual:1", NO_PROXY="x.example")
    one, two = plan.upstreams
    assert (plan.default, plan.discovery, plan.source) == ("anthropic", False, str(tmp_path / "upstreams.yaml"))
    assert one.secret is not None
    assert (one.secret.get_secret_value(), one.concurrency, one.attempts) == ("from-env", 7, 5)
    assert (one.proxy, one.no_proxy) == ("http://usual:1", "x.example")
    assert two.oauth is not None
    assert (two.oauth.client_secret.get_secret_value(), two.oauth.tenant_id) == ("from-file", "t-1")
    assert (two.proxy, two.no_proxy, two.connect, two.silence) == ("http://proxy.corp:3128", ".corp", 3, 60)
    assert (two.hosted_on_azure, two.without, two.with_) == (True, ("web_search",), ("structured_outputs",))
    assert two.headers == {"x-team": "platform"}
    assert plan.models == (
        ModelRoute(
            "claude-opus-5-5",
            (Target("azure", "opus-deployment"), Target("anthropic", "claude-opus-5-5")),
            "Opus",
            32000,
        ),
        ModelRoute("claude-haiku-*", (Target("anthropic", "*"),)),
    )
    assert "from-env" not in repr(plan)
    assert "from-file" not in repr(plan)


def entry(**fields: Any) -> str:
    given = {"kind": "anthropic", "url": "https://a.example", **fields}
    lines = "".join(f"    {key}: {value}\n" for key, value in given.items() if value is not None)
    return f"default: a\nupstreams:\n  a:\n{lines}"


MISTAKES: list[tuple[str, str]] = [
    ("[]", "must be a mapping with upstreams, models, default, discovery"),
    ("", "must be a mapping"),
    ("upstreams: {}", "upstreams: Dictionary should have at least 1 item"),
    ("upstream: {}", "'upstream' is not a key here; did you mean 'upstreams'?"),
    ("a: [", "is not YAML"),
    ("upstreams: {a: {kind: anthropic, kind: azure}}", "'kind' stands here twice"),
    (entry(kind="anthropc"), "upstreams.a.kind: Input should be 'anthropic', 'azure', 'databricks' or 'openai'"),
    (entry(kidn="anthropic"), "upstreams.a: 'kidn' is not a key here; did you mean 'kind'?"),
    (entry(url="a.example"), "upstreams.a.url: String should match pattern"),
    (entry(url="https://me:sk-123@a.example/v1"), "upstreams.a.url: must hold no user or password; use credential"),
    (entry(url=None), "upstreams.a.url: Field required"),
    (entry(credential="sk-123"), "upstreams.a.credential: must be a mapping with env, file, scheme"),
    (
        entry(credential="{value: sk-123}"),
        "upstreams.a.credential: 'value': secrets do not stand in this file; name a variable (env: NAME)",
    ),
    (entry(credential="{env: A, file: /b}"), "upstreams.a.credential: needs exactly one of env and file"),
    (entry(credential="{env: NOWHERE}"), "upstreams.a.credential: the variable NOWHERE is not set"),
    (entry(credential="{file: /nowhere}"), "upstreams.a.credential: /nowhere cannot be read"),
    (entry(credential="{env: HOSTILE}"), "upstreams.a.credential: HOSTILE holds characters that no header can carry"),
    (entry(credential="{env: K, scheme: basic}"), "scheme basic is not one of x-api-key, bearer, api-key"),
    (entry(oauth="{client_id: a, client_secret: {env: K}}"), "oauth: needs token_url for kind anthropic"),
    (entry(kind="azure", oauth="{client_id: a, client_secret: {env: K}}"), "oauth: needs tenant_id or token_url"),
    (
        entry(credential="{env: K}", oauth="{client_id: a, client_secret: {env: K}, token_url: https://t.example}"),
        "upstreams.a: needs one of credential and oauth, not both",
    ),
    (entry(hosted_on_azure="true"), "upstreams.a: hosted_on_azure is only for kind azure"),
    (entry(dialect="vllm"), "upstreams.a: dialect is only for kind openai or databricks"),
    (entry(without="[web_serch]"), "upstreams.a: 'web_serch' is not a feature; did you mean 'web_search'?"),
    (entry(headers="{Authorization: x}"), "upstreams.a: headers: Authorization carries a secret; use credential"),
    (entry(headers="{anthropic-beta: x}"), "upstreams.a: headers: anthropic-beta is the gateway's to send"),
    (entry(headers='{X-A: "a\\r\\nb"}'), "upstreams.a.headers.X-A: String should match pattern"),
    (entry(attempts=0), "upstreams.a.attempts: Input should be greater than or equal to 1"),
    (entry(timeouts="{silenc: 1}"), "upstreams.a.timeouts: 'silenc' is not a key here; did you mean 'silence'?"),
    (entry(proxy="socks5://p"), "upstreams.a.proxy: String should match pattern"),
    (entry(ca_file="/nowhere.pem"), "upstreams.a: BULKHEAD_UPSTREAM_CA_FILE or ca_file names /nowhere.pem"),
    (entry().replace("default: a", "default: b"), "default: there is no upstream 'b'"),
    (entry() + "models: {m: {upstream: aa}}", "models.m: there is no upstream 'aa'; did you mean 'a'?"),
    (entry() + "models: {m: {upstream: a, fallback: [{upstream: x}]}}", "models.m: there is no upstream 'x'"),
    (entry() + "models: {'m*x': {upstream: a}}", "models.m*x: * may only stand at the end"),
    (entry() + "models: {m: {upstream: a, max_tokens: 0}}", "models.m.max_tokens: Input should be greater"),
    (entry() + "models: {m: {upstream: a, falback: []}}", "models.m: 'falback' is not a key here; did you mean"),
    (entry().replace("default: a", "discovery: false"), "no model could be asked for: add models, or name a default"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said[:50] for _, said in MISTAKES])
def test_a_mistake_is_told_with_file_place_and_remedy(tmp_path: Path, settings: Settings, text: str, said: str) -> None:
    with pytest.raises(UpstreamsFileError) as caught:
        planned(tmp_path, text, settings, K="k", HOSTILE="a\r\nx-evil: 1")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/upstreams.yaml: ")
    assert said in message
    assert "\n" not in message
    assert "sk-123" not in message


def test_several_mistakes_are_told_together_up_to_a_handful(tmp_path: Path, settings: Settings) -> None:
    text = "upstreams:\n" + "".join(f"  u{at}: {{kind: x, url: y}}\n" for at in range(4))
    with pytest.raises(UpstreamsFileError) as caught:
        planned(tmp_path, text, settings)
    assert "upstreams.u0.kind" in str(caught.value)
    assert "upstreams.u1.url" in str(caught.value)
    assert "(and 3 more)" in str(caught.value)


def test_a_file_that_is_not_there_or_is_far_too_large_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(UpstreamsFileError, match=r"BULKHEAD_UPSTREAMS: .*nowhere\.yaml cannot be read"):
        plan_of_file(tmp_path / "nowhere.yaml", settings, {})
    with pytest.raises(UpstreamsFileError, match="is larger than"):
        planned(tmp_path, "#" * 1_100_000, settings)
