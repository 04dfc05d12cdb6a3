"""Gathering the doctor's facts: from files, the engine and two harmless commands. Changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from gateway.audit.chain import SealKey
from gateway.audit.errors import AuditUnavailable
from gateway.audit.writer import check_end
from gateway.cli.doctor.facts import EngineFacts, Facts, ImageState, UpstreamFacts
from gateway.images.build import states
from gateway.images.errors import ImageError
from gateway.images.recipes import source_tree
from gateway.routing.build import plan_of, router_of
from gateway.routing.plan import Kind, RoutingPlan, UpstreamPlan
from gateway.settings import Settings, SettingsError, unknown_variables, variable_of
from gateway.store.engine import StoreError, close_store, open_existing

ENGINE_TIMEOUT = 5
COMMAND_TIMEOUT = 10

_CREDENTIALS: Mapping[Kind, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "azure": "AZURE_ANTHROPIC_API_KEY",
    "databricks": "DATABRICKS_API_KEY",
    "openai": "OPENAI_API_KEY",
}
"""Where the secret of an upstream comes from that is configured by variables."""


def collect(settings: Settings) -> Facts:
    """Everything the checks need to know of this host. Bounded waits; never raises for what it meets."""
    engine, image_state, engine_error = _ask_engine(settings)
    bubblewrap, bubblewrap_error = _bubblewrap()
    data = _stat(settings.data_dir)
    workspace = _stat(settings.workspace_root)
    upstreams, upstreams_error = _upstreams(settings)
    return Facts(
        driver=settings.sandbox_driver,
        engine=engine,
        engine_error=engine_error,
        image=settings.sandbox_image,
        image_state=image_state,
        kernel=platform.release(),
        lsms=_words("/sys/kernel/security/lsm", ","),
        seccomp_actions=_words("/proc/sys/kernel/seccomp/actions_avail", None),
        cgroup_v2=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        user_namespaces=next((int(word) for word in _words("/proc/sys/user/max_user_namespaces", None)), None),
        bubblewrap=bubblewrap,
        bubblewrap_error=bubblewrap_error,
        ripgrep=shutil.which("rg") is not None,
        data_dir=str(settings.data_dir),
        data_mode=data.st_mode & 0o7777 if data else None,
        data_owner=data.st_uid if data else None,
        data_free=_free(settings.data_dir),
        uid=os.getuid(),
        audit=_audit(settings),
        now=time.time(),
        evidence=_evidence(settings),
        workspace=str(settings.workspace_root),
        workspace_owner=workspace.st_uid if workspace and settings.workspace_root.is_dir() else None,
        workspace_is_home=settings.workspace_root == Path.home(),
        upstreams=upstreams,
        upstreams_error=upstreams_error,
        unknown_variables=tuple(unknown_variables(os.environ)),
        known_variables=tuple(variable_of(field) for field in Settings.model_fields),
    )


def _upstreams(settings: Settings) -> tuple[tuple[UpstreamFacts, ...], str]:
    """What is configured, or why nothing can be made of it. Asks nobody."""
    try:
        plan = plan_of(settings)
        asyncio.run(_built(plan))
    except SettingsError as error:
        return (), str(error)
    return tuple(_upstream(one, settings) for one in plan.upstreams), ""


async def _built(plan: RoutingPlan) -> None:
    await router_of(plan).aclose()


def _upstream(plan: UpstreamPlan, settings: Settings) -> UpstreamFacts:
    place = _CREDENTIALS[plan.kind] if settings.upstreams is None else f"upstreams.{plan.name}.credential"
    return UpstreamFacts(
        plan.name,
        plan.kind,
        credential=plan.secret is not None or plan.oauth is not None,
        open=plan.kind == "openai" and plan.url.lower().startswith("http:"),
        place=place,
    )


def _ask_engine(settings: Settings) -> tuple[EngineFacts | None, ImageState | None, str]:
    """The engine and the state of the image, or why there is none."""
    try:
        if settings.docker_host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:  # the SDK leaks its socket when nobody answers
                probe.settimeout(ENGINE_TIMEOUT)
                probe.connect(settings.docker_host.removeprefix("unix://"))
        client = docker.APIClient(base_url=settings.docker_host, version="auto", timeout=ENGINE_TIMEOUT)
        with contextlib.closing(client):
            return _engine(client), _image_state(client, settings.sandbox_image), ""
    except (DockerException, OSError) as error:
        return None, None, " ".join(str(error).split())[:200]


def _engine(client: docker.APIClient) -> EngineFacts:
    version: dict[str, Any] = client.version()
    info: dict[str, Any] = client.info()
    components = {item["Name"]: item for item in version.get("Components") or ()}
    root = str(info.get("DockerRootDir", ""))
    security = tuple(str(option) for option in info.get("SecurityOptions") or ())
    return EngineFacts(
        version=str(version.get("Version", "")),
        api=str(version.get("ApiVersion", "")),
        runc=str(components.get("runc", {}).get("Version", "")),
        runc_build=str((info.get("RuncCommit") or {}).get("ID", "")),
        kernel=str(info.get("KernelVersion", "")),
        security=security,
        cgroup=str(info.get("CgroupVersion", "")),
        rootless=any("name=rootless" in option for option in security),
        root_dir=root,
        root_free=_free(Path(root)) if root and Path(root).is_dir() else None,
        skew_seconds=_skew(str(info.get("SystemTime", ""))),
    )


def _image_state(client: docker.APIClient, image: str) -> ImageState:
    try:
        known = {f"{state.tag}:latest": state.state for state in states(client, source_tree())}
    except ImageError:
        known = {}
    match known.get(image):
        case "current":
            return "current"
        case "stale":
            return "stale"
        case "absent":
            return "absent"
        case _:
            return "foreign" if client.images(name=image) else "absent"


def _skew(stamp: str) -> float | None:
    """Engines spell nanoseconds; a second's fraction does not matter here."""
    try:
        return datetime.fromisoformat(stamp[:19] + "+00:00").timestamp() - time.time()
    except ValueError:
        return None


def _bubblewrap() -> tuple[str | None, str]:
    program = shutil.which("bwrap")
    if program is None:
        return None, ""
    version, _ = _run([program, "--version"])
    _, error = _run([program, "--unshare-all", "--ro-bind", "/", "/", "/bin/true"])
    return version or "bubblewrap", error


def _run(command: list[str]) -> tuple[str, str]:
    """Output, and why it failed if it did."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout.strip(), "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def _audit(settings: Settings) -> str:
    if not settings.audit_key_path.exists():
        return "absent"
    try:
        engine = open_existing(settings.store_url)
        try:
            check_end(engine, SealKey.read(settings.audit_key_path))
        finally:
            close_store(engine)
    except (StoreError, AuditUnavailable) as error:
        return str(error)
    return "sealed"


def _evidence(settings: Settings) -> float:
    package = Path(__file__).resolve().parents[2]
    places: Iterable[Path] = (package, Path("/proc/1"), Path("/etc/hostname"), settings.data_dir)
    return max(info.st_mtime for place in places if (info := _stat(place)) is not None)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _free(path: Path) -> int | None:
    """Free bytes where the path is, or will be made."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _words(path: str, separator: str | None) -> tuple[str, ...]:
    try:
        return tuple(word for word in Path(path).read_text().strip().split(separator) if word)
    except OSError:
        return ()
