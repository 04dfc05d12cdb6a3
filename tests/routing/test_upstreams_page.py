"""docs/upstreams.md and the example file say what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.providers.adapt.features import FEATURES
from gateway.providers.chat import DIALECTS
from gateway.routing.build import plan_of, router_of
from gateway.routing.route import Target
from gateway.routing.schema import UpstreamEntry, UpstreamsFile
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "upstreams.md").read_text()
EXAMPLE = ROOT / "examples" / "upstreams.yaml"


@pytest.mark.parametrize("name", [*FEATURES, *DIALECTS])
def test_every_feature_and_dialect_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_key_of_the_file_is_explained() -> None:
    for name, field in UpstreamEntry.model_fields.items():
        assert f".{field.alias or name}`" in PAGE, name
    for name in UpstreamsFile.model_fields:
        assert f"`{name}" in PAGE, name


@pytest.mark.parametrize("block", PAGE.split("```yaml\n")[1:], ids=lambda block: block[:20])
def test_yaml_of_the_page_is_yaml(block: str) -> None:
    text = block.split("```")[0]
    document = yaml.safe_load(text)
    if "upstreams" in document:
        UpstreamsFile.model_validate(document)


async def test_the_example_file_makes_a_router(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANTHROPIC_API_KEY", "AZURE_CLIENT_SECRET", "DATABRICKS_API_KEY"):
        monkeypatch.setenv(variable, "secret")
    router = router_of(plan_of(Settings(upstreams=EXAMPLE)))
    assert router.route("claude-haiku-4-5-20251001").targets == (Target("lakehouse", "databricks-claude-haiku-4-5"),)
    assert [target.upstream for target in router.route("claude-opus-5-5").targets] == [
        "foundry",
        "lakehouse",
        "anthropic",
    ]
    assert router.route("claude-via-coder").max_tokens == 32768
    await router.aclose()
