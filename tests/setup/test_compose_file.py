"""compose.yaml keeps the engine's socket with the broker alone and hardens every service."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import Settings, variable_of

COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
FOREIGN = {"HTTPS_PROXY", "NO_PROXY"}


def test_only_the_broker_mounts_the_engines_socket() -> None:
    holders = [
        name for name, one in SERVICES.items() if any("docker.sock" in mount for mount in one.get("volumes", ()))
    ]
    assert holders == ["broker"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_read_only_without_capabilities_and_new_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "userns_mode", "devices"} & service.keys()


def test_only_the_broker_keeps_a_capability_and_only_the_one_it_needs() -> None:
    kept = {name: one["cap_add"] for name, one in SERVICES.items() if "cap_add" in one}
    assert kept == {"broker": ["DAC_READ_SEARCH"]}


def test_the_broker_has_no_network_and_sees_workspaces_read_only() -> None:
    broker = SERVICES["broker"]
    assert broker["network_mode"] == "none"
    workspaces = [mount for mount in broker["volumes"] if mount.startswith("${WORKSPACE_ROOT")]
    assert len(workspaces) == 1
    assert workspaces[0].endswith(":${WORKSPACE_ROOT}:ro")


def test_the_gateway_is_not_root_and_gets_no_workspace() -> None:
    gateway = SERVICES["gateway"]
    assert gateway["user"] == "10002:10002"
    assert sorted(mount.split(":")[0] for mount in gateway["volumes"]) == ["broker-socket", "data"]


def test_the_gateway_listens_on_this_machine_only() -> None:
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:${PORT:-8080}:8080"]


def test_gateway_and_broker_meet_at_one_socket() -> None:
    path = SERVICES["gateway"]["environment"]["BULKHEAD_BROKER_SOCKET"]
    assert f"--socket={path}" in SERVICES["broker"]["command"]
    for name in ("gateway", "broker"):
        assert any(mount.startswith(f"broker-socket:{Path(path).parent}") for mount in SERVICES[name]["volumes"])


def test_every_variable_of_the_gateway_is_a_setting() -> None:
    known = {variable_of(field) for field in Settings.model_fields} | FOREIGN
    assert set(SERVICES["gateway"]["environment"]) <= known


def test_everything_that_is_made_carries_the_label() -> None:
    for kind in ("services", "volumes", "networks"):
        for name, one in COMPOSE[kind].items():
            assert "bulkhead" in one["labels"], name
