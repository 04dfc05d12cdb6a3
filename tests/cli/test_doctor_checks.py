"""The doctor's judgement: a healthy host, and one change at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.cli.doctor.checks import CHECKS, examine
from gateway.cli.doctor.facts import EngineFacts, Facts, UpstreamFacts
from gateway.cli.doctor.runc import known_escapes

GIB = 1024**3

ENGINE = EngineFacts(
    version="27.3.1",
    api="1.47",
    runc="1.3.3",
    runc_build="v1.3.3-0-gd842d771",
    kernel="6.12.0",
    security=("name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"),
    cgroup="2",
    rootless=False,
    root_dir="/var/lib/docker",
    root_free=100 * GIB,
    skew_seconds=0.2,
)
ANTHROPIC = UpstreamFacts("anthropic", "anthropic", credential=True, open=False, place="ANTHROPIC_API_KEY")
HOUSE = UpstreamFacts("house", "openai", credential=False, open=True, place="upstreams.house.credential")
HEALTHY = Facts(
    driver="auto",
    engine=ENGINE,
    engine_error="",
    image="bulkhead/sandbox-python:latest",
    image_state="current",
    kernel="6.12.0",
    lsms=("lockdown", "apparmor"),
    seccomp_actions=("kill_process", "errno", "allow"),
    cgroup_v2=True,
    user_namespaces=1000,
    bubblewrap="bubblewrap 0.8.0",
    bubblewrap_error="",
    ripgrep=True,
    data_dir="/home/a/.local/state/bulkhead",
    data_mode=0o700,
    data_owner=1000,
    data_free=50 * GIB,
    uid=1000,
    audit="sealed",
    now=1_000_000.0,
    evidence=999_000.0,
    workspace="/home/a/code",
    workspace_owner=1000,
    workspace_is_home=False,
    upstreams=(ANTHROPIC,),
    upstreams_error="",
    unknown_variables=(),
    known_variables=("BULKHEAD_MAX_STEPS", "BULKHEAD_MODE"),
)
ALONE: dict[str, Any] = {"engine": None, "engine_error": "connection refused", "image_state": None}


def with_engine(**changes: Any) -> dict[str, Any]:
    return {"engine": replace(ENGINE, **changes)}


def test_a_healthy_host_has_nothing_to_do() -> None:
    findings = examine(HEALTHY)
    assert [finding for finding in findings if finding.status != "ok" or finding.remedy] == []
    assert len({finding.name for finding in findings}) == len(CHECKS)


@pytest.mark.parametrize(
    ("changes", "name", "status", "said"),
    [
        (ALONE, "engine", "warn", "connection refused"),
        ({**ALONE, "driver": "docker"}, "engine", "fail", "DOCKER_HOST"),
        ({**ALONE, "driver": "bubblewrap"}, "engine", "ok", "does not answer"),
        (with_engine(runc="1.1.11", runc_build="v1.1.11-0-g4bccb38c"), "runc", "fail", "CVE-2024-21626"),
        (with_engine(runc="1.1.5+ds1", runc_build="1.1.5+ds1-1+deb12u1"), "runc", "warn", "backport"),
        (with_engine(runc="", runc_build=""), "runc", "warn", "cannot be read"),
        ({"image_state": "absent"}, "sandbox image", "fail", "bulkhead images build"),
        ({"image_state": "stale"}, "sandbox image", "warn", "bulkhead images build"),
        ({"image_state": "foreign"}, "sandbox image", "warn", "trust"),
        ({"image_state": "absent", "driver": "bubblewrap"}, "sandbox image", "ok", "not used"),
        (with_engine(kernel="4.4.0-generic"), "kernel", "fail", "too old"),
        (with_engine(kernel="5.4.0-150-generic"), "kernel", "warn", "old"),
        (with_engine(kernel="6.12-rc3"), "kernel", "ok", "6.12"),
        ({**ALONE, "kernel": "weird"}, "kernel", "warn", "cannot be read"),
        ({"lsms": (), **with_engine(security=("name=seccomp",))}, "lsm", "warn", "AppArmor"),
        ({"lsms": (), **with_engine(security=("name=seccomp", "name=selinux"))}, "lsm", "ok", "selinux"),
        (with_engine(security=("name=apparmor",)), "seccomp", "fail", "system calls"),
        ({**ALONE, "seccomp_actions": ()}, "seccomp", "fail", "system calls"),
        (with_engine(cgroup="1"), "cgroup", "warn", "version 1"),
        ({**ALONE, "cgroup_v2": False}, "cgroup", "warn", "version 1"),
        ({"user_namespaces": 0}, "user namespaces", "warn", "max_user_namespaces"),
        ({"user_namespaces": 0, "driver": "bubblewrap"}, "user namespaces", "fail", "max_user_namespaces"),
        ({"user_namespaces": 0, **with_engine(rootless=True)}, "user namespaces", "ok", "maps"),
        ({"bubblewrap": None}, "bubblewrap", "ok", "not needed"),
        ({**ALONE, "bubblewrap": None}, "bubblewrap", "fail", "not installed"),
        ({"driver": "bubblewrap", "bubblewrap_error": "No permissions"}, "bubblewrap", "fail", "No permissions"),
        ({"ripgrep": False}, "ripgrep", "ok", "image"),
        ({**ALONE, "ripgrep": False}, "ripgrep", "warn", "Install ripgrep"),
        (with_engine(root_free=3 * GIB), "engine disk", "warn", "Make room"),
        (with_engine(root_free=GIB // 2), "engine disk", "fail", "Make room"),
        (with_engine(root_free=None), "engine disk", "ok", "cannot be seen"),
        ({"data_free": GIB // 2}, "data disk", "warn", "Make room"),
        ({"data_free": 1000}, "data disk", "fail", "Make room"),
        ({"data_free": None}, "data disk", "warn", "BULKHEAD_DATA_DIR"),
        ({"data_mode": None}, "data directory", "ok", "first start"),
        ({"data_mode": 0o755}, "data directory", "warn", "chmod 700"),
        ({"data_mode": 0o770}, "data directory", "fail", "chmod 700"),
        ({"data_owner": 1001}, "data directory", "fail", "chown"),
        ({"audit": "absent"}, "audit log", "ok", "first start"),
        ({"audit": "the head is forged"}, "audit log", "fail", "the head is forged"),
        ({"now": 900_000.0}, "clock", "fail", "99000 s behind"),
        (with_engine(skew_seconds=-400.0), "clock", "warn", "-400 s"),
        ({"workspace_owner": None}, "workspace root", "fail", "WORKSPACE_ROOT"),
        ({"workspace_owner": 0}, "workspace root", "warn", "belongs to root"),
        ({"workspace": "/"}, "workspace root", "warn", "more than code"),
        ({"workspace_is_home": True}, "workspace root", "warn", "more than code"),
        ({"upstreams": (replace(ANTHROPIC, credential=False),)}, "upstreams", "warn", "ANTHROPIC_API_KEY"),
        ({"upstreams": (ANTHROPIC, HOUSE)}, "upstreams", "ok", "house (openai, no credential)"),
        ({"upstreams": (ANTHROPIC, replace(HOUSE, open=False))}, "upstreams", "warn", "upstreams.house.credential"),
        ({"upstreams": (), "upstreams_error": "up.yaml: is not YAML."}, "upstreams", "fail", "up.yaml: is not YAML."),
        ({"unknown_variables": ("BULKHEAD_MAX_STEP",)}, "variables", "warn", "meant BULKHEAD_MAX_STEPS?"),
        ({"unknown_variables": ("BULKHEAD_QQ",)}, "variables", "warn", "BULKHEAD_QQ"),
    ],
)
def test_one_change_gives_one_finding(changes: dict[str, Any], name: str, status: str, said: str) -> None:
    finding = next(found for found in examine(replace(HEALTHY, **changes)) if found.name == name)
    assert finding.status == status
    assert said in f"{finding.detail} {finding.remedy}"
    assert bool(finding.remedy) == (status != "ok")


NEW = ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881")


@pytest.mark.parametrize(
    ("version", "build", "still_open", "packaged"),
    [
        ("1.1.11", "v1.1.11-0-g4bccb38c", ("CVE-2024-21626", *NEW), False),
        ("1.1.12", "v1.1.12-0-g51d5e946", NEW, False),
        ("1.1.5+ds1", "1.1.5+ds1-1+b1", ("CVE-2024-21626", *NEW), True),
        ("1.1.5+ds1", "1.1.5+ds1-1+deb12u1", NEW, True),
        ("1.2.7", "v1.2.7", NEW, False),
        ("1.2.8", "v1.2.8", (), False),
        ("1.3.2", "v1.3.2", NEW, False),
        ("1.3.3", "", (), False),
        ("1.4.0-rc.2", "", NEW, False),
        ("1.4.0-rc.3", "", (), False),
        ("1.4.0", "", (), False),
        ("1.10.0", "", (), False),
        ("2.0.0", "", (), False),
        ("", "v1.3.3-0-gd842d771", (), False),
    ],
)
def test_each_runc_is_known_by_what_is_still_open(
    version: str, build: str, still_open: tuple[str, ...], packaged: bool
) -> None:
    escapes = known_escapes(version, build)
    assert escapes is not None
    assert (escapes.open, escapes.packaged) == (still_open, packaged)


def test_an_engine_without_runc_is_not_judged() -> None:
    assert known_escapes("", "crun 1.8") is None


Bulkhead = Callable[..., Any]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


def test_the_command_tells_findings_by_table_json_and_exit_code(bulkhead: Bulkhead, no_engine: None) -> None:
    as_json = bulkhead("doctor", "--json")
    report = as_json.json()
    assert [check["name"] for check in report["checks"]] == [finding.name for finding in examine(HEALTHY)]
    assert report["ok"] == (as_json.code == 0) == all(check["status"] != "fail" for check in report["checks"])
    table = bulkhead("doctor")
    assert table.code == as_json.code
    for check in report["checks"]:
        assert check["name"] in table.out
        assert check["remedy"] in table.out


def test_a_required_engine_that_is_missing_is_a_failure(
    bulkhead: Bulkhead, no_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_SANDBOX_DRIVER", "docker")
    ran = bulkhead("doctor")
    assert ran.code == 1
    assert "DOCKER_HOST" in ran.out


def upstreams_finding(bulkhead: Bulkhead) -> dict[str, str]:
    checks = {check["name"]: check for check in bulkhead("doctor", "--json").json()["checks"]}
    found: dict[str, str] = checks["upstreams"]
    return found


def test_a_mistake_in_the_upstreams_file_is_told_with_its_place(
    bulkhead: Bulkhead, no_engine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "upstreams.yaml"
    file.write_text("default: house\nupstreams:\n  house: {kind: openai, url: ftp://house}\n")
    monkeypatch.setenv("BULKHEAD_UPSTREAMS", str(file))
    found = upstreams_finding(bulkhead)
    assert found["status"] == "fail"
    assert f"{file}: upstreams.house.url" in found["detail"]


def test_every_upstream_of_the_file_is_examined(
    bulkhead: Bulkhead, no_engine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "upstreams.yaml"
    file.write_text(
        "default: house\n"
        "upstreams:\n"
        "  house: {kind: openai, url: 'http://127.0.0.1:8000/v1'}\n"
        "  spare: {kind: anthropic, url: 'https://api.example'}\n"
        "  lake: {kind: databricks, url: 'https://lake.example', credential: {env: LAKE_TOKEN}}\n"
    )
    monkeypatch.setenv("BULKHEAD_UPSTREAMS", str(file))
    monkeypatch.setenv("LAKE_TOKEN", "dapi-not-shown")
    found = upstreams_finding(bulkhead)
    assert found["status"] == "warn"
    assert found["remedy"] == "Set upstreams.spare.credential."
    assert "dapi-not-shown" not in str(found)


def test_a_dialect_that_nobody_speaks_is_a_failure(
    bulkhead: Bulkhead, no_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "openai")
    monkeypatch.setenv("OPENAI_DIALECT", "vlm")
    found = upstreams_finding(bulkhead)
    assert found["status"] == "fail"
    assert "'vlm'" in found["detail"]


def test_a_log_that_was_tampered_with_is_a_failure(bulkhead: Bulkhead, no_engine: None, data_dir: Any) -> None:
    bulkhead("keys", "create", "a", "--subject", "b")
    (data_dir / "audit.key").write_bytes(bytes(32))
    checks = {check["name"]: check for check in bulkhead("doctor", "--json").json()["checks"]}
    assert checks["audit log"]["status"] == "fail"


@pytest.mark.engine
def test_the_engine_of_this_host_is_examined(bulkhead: Bulkhead) -> None:
    checks = {check["name"]: check for check in bulkhead("doctor", "--json").json()["checks"]}
    assert checks["engine"]["status"] == "ok"
    assert "API" in checks["engine"]["detail"]
