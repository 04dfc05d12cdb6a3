"""What the pages tell people to copy makes the gateway that they say it makes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.api import messages, models
from gateway.providers.chat import DIALECTS
from gateway.providers.databricks import databricks_place
from gateway.routing.build import plan_of, router_of
from gateway.routing.plan import RoutingPlan
from gateway.settings import Settings, load_settings, variable_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
UPSTREAMS = (ROOT / "docs" / "upstreams.md").read_text()
MESSAGES_API = (ROOT / "docs" / "messages-api.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())

FIXED_BY_COMPOSE = {
    "database_url", "docker_host", "host", "port", "data_dir", "broker_socket", "sandbox_driver", "sandbox_image",
    "workspace_root",
}  # fmt: skip

SEEDS = {
    "databricks": {
        "MODEL_PROVIDER": "databricks",
        "DATABRICKS_API_BASE": "https://ws.cloud.databricks.com",
        "DATABRICKS_API_KEY": "dapi-secret",
        "DATABRICKS_ENDPOINT_PATH": "/serving-endpoints/databricks-claude-sonnet-4-5/invocations",
        "WORKSPACE_ROOT": "/tmp",
        "PORT": "8080",
    },
    "azure": {
        "MODEL_PROVIDER": "azure-anthropic",
        "AZURE_ANTHROPIC_ENDPOINT": "https://res.services.ai.azure.com/anthropic/v1/messages",
        "AZURE_ANTHROPIC_API_KEY": "secret",
        "AZURE_ANTHROPIC_VERSION": "2023-06-01",
        "PROMPT_CACHE_ENABLED": "true",
        "PROMPT_CACHE_TTL_MS": "300000",
        "PROMPT_CACHE_MAX_ENTRIES": "64",
    },
}
"""As the projects that this gateway stands in for have them in their own pages."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own configuration."""
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.delenv("BULKHEAD_CONFIG", raising=False)


def exports(page: str) -> Iterator[dict[str, str]]:
    """The variables of every shell block that configures an upstream."""
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        if "export MODEL_PROVIDER=" in block:
            words = shlex.split(block, comments=True)
            yield dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))


async def made_from(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> RoutingPlan:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    plan = plan_of(load_settings())
    await router_of(plan).aclose()
    return plan


@pytest.mark.parametrize(
    "variables", [*exports(README), *exports(UPSTREAMS)], ids=lambda found: found["MODEL_PROVIDER"]
)
async def test_variables_to_copy_make_an_upstream(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    known = {variable_of(field) for field in Settings.model_fields}
    assert variables.keys() <= known
    (one,) = (await made_from(monkeypatch, variables)).upstreams
    assert one.secret is not None or one.oauth is not None or one.kind == "openai"


@pytest.mark.parametrize("kind", SEEDS)
async def test_the_variables_of_the_seeds_work_unchanged(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (one,) = (await made_from(monkeypatch, SEEDS[kind])).upstreams
    assert (one.kind, one.secret is not None) == (kind, True)


async def test_the_file_in_the_readme_makes_a_router(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "upstreams.yaml"
    file.write_text(README.split("```yaml\n")[1].split("```")[0])
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    plan = await made_from(monkeypatch, {"BULKHEAD_UPSTREAMS": str(file)})
    assert [target.upstream for target in plan.models[0].targets] == ["house", "spare"]


def test_the_table_of_dialects_has_those_there_are() -> None:
    table = UPSTREAMS.split("| dialect | for |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.-]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(DIALECTS)


def test_every_route_of_databricks_in_the_page_is_one() -> None:
    table = UPSTREAMS.split("| path | what it is |")[1].split("\n\n")[0]
    paths = [path for row in table.splitlines() for path in re.findall(r"`(/[\w/.-]+)`", row)]
    assert len(paths) >= 6
    for path in paths:
        assert databricks_place("https://ws.example", path)


def test_the_endpoints_of_the_page_are_those_that_are_served() -> None:
    served = {
        f"{method} {re.sub(r'{.*}', '{id}', route.path)}"
        for room in (messages, models)
        for route in room.router.routes
        for method in getattr(route, "methods", ())
    }
    listed = set(re.findall(r"`((?:GET|POST) /v1/[\w/{}]+)`", MESSAGES_API.split("## Headers")[0]))
    assert listed == served


def test_compose_passes_on_every_setting_of_models_cache_and_limits() -> None:
    passed = set(COMPOSE["services"]["gateway"]["environment"])
    fields = list(Settings.model_fields)
    wanted = [*fields[: fields.index("host")], *fields[fields.index("key_requests_per_minute") :]]
    assert {variable_of(field) for field in wanted if field not in FIXED_BY_COMPOSE} <= passed
