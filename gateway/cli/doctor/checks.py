"""The doctor's judgement: each check is a pure function from facts to a finding, listed in `CHECKS`."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.cli.doctor.facts import Facts
from gateway.cli.doctor.runc import known_escapes

Status = Literal["ok", "warn", "fail"]

GIB = 1024**3
MIB = 1024**2
MAX_SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `remedy` is empty when all is well."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def engine(facts: Facts) -> Finding:
    if facts.engine is not None:
        return Finding("engine", "ok", f"version {facts.engine.version}, API {facts.engine.api}")
    status: Status = "fail" if facts.driver == "docker" else "warn" if facts.driver == "auto" else "ok"
    remedy = "Start a Docker engine, or set DOCKER_HOST to the one you have." if status != "ok" else ""
    return Finding("engine", status, f"does not answer: {facts.engine_error}", remedy)


def runc(facts: Facts) -> Finding:
    if facts.engine is None:
        return Finding("runc", "ok", "no engine")
    escapes = known_escapes(facts.engine.runc, facts.engine.runc_build)
    said = facts.engine.runc_build if "deb" in facts.engine.runc_build else facts.engine.runc
    if escapes is None:
        return Finding("runc", "warn", f"version {said!r} cannot be read", "Check that runc is 1.2.8, 1.3.3 or newer.")
    if not escapes.open:
        return Finding("runc", "ok", f"version {said}, no known escape")
    names = ", ".join(escapes.open)
    if escapes.packaged:
        return Finding(
            "runc",
            "warn",
            f"version {said}, by upstream's numbers open to {names}",
            "Check your distribution's security tracker for a backport of each.",
        )
    return Finding("runc", "fail", f"version {said} is open to {names}", "Update runc to 1.2.8, 1.3.3 or newer.")


def kernel(facts: Facts) -> Finding:
    release = facts.engine.kernel if facts.engine else facts.kernel
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        return Finding("kernel", "warn", f"release {release!r} cannot be read", "Use Linux 5.10 or newer.")
    version = int(numbers[1]), int(numbers[2])
    if version < (4, 18):
        return Finding("kernel", "fail", f"Linux {release} is too old", "Use Linux 5.10 or newer.")
    if version < (5, 10):
        return Finding("kernel", "warn", f"Linux {release} is old", "Use Linux 5.10 or newer.")
    return Finding("kernel", "ok", f"Linux {release}")


def lsm(facts: Facts) -> Finding:
    found = {name for name in ("apparmor", "selinux") if name in facts.lsms}
    security = facts.engine.security if facts.engine else ()
    found |= {name for name in ("apparmor", "selinux") if any(f"name={name}" in option for option in security)}
    if found:
        return Finding("lsm", "ok", ", ".join(sorted(found)))
    return Finding(
        "lsm",
        "warn",
        "neither AppArmor nor SELinux: one wall less behind seccomp and namespaces",
        "Enable AppArmor or SELinux on the engine's host.",
    )


def seccomp(facts: Facts) -> Finding:
    by_engine = facts.engine is None or any("name=seccomp" in option for option in facts.engine.security)
    if "errno" in facts.seccomp_actions and by_engine:
        return Finding("seccomp", "ok", "available")
    return Finding("seccomp", "fail", "system calls cannot be filtered", "Use a kernel and an engine with seccomp.")


def cgroup(facts: Facts) -> Finding:
    version = facts.engine.cgroup if facts.engine else "2" if facts.cgroup_v2 else "1"
    if version == "2":
        return Finding("cgroup", "ok", "version 2")
    return Finding(
        "cgroup", "warn", f"version {version or 'unknown'}: limits are kept, less exactly", "Boot with cgroup v2."
    )


def user_namespaces(facts: Facts) -> Finding:
    remapped = facts.engine is not None and (
        facts.engine.rootless or any("name=userns" in option for option in facts.engine.security)
    )
    if remapped:
        return Finding("user namespaces", "ok", "the engine maps container users away from the host's")
    if facts.user_namespaces:
        return Finding("user namespaces", "ok", "available; the engine does not use them")
    status: Status = "fail" if facts.driver == "bubblewrap" else "warn"
    return Finding("user namespaces", status, "switched off", "Set the sysctl user.max_user_namespaces above 0.")


def image(facts: Facts) -> Finding:
    if facts.engine is None or facts.driver == "bubblewrap":
        return Finding("sandbox image", "ok", "not used without an engine")
    match facts.image_state:
        case "current":
            return Finding("sandbox image", "ok", f"{facts.image} matches this version")
        case "foreign":
            return Finding(
                "sandbox image", "warn", f"{facts.image} was not built by this package", "Make sure that you trust it."
            )
        case "stale":
            return Finding(
                "sandbox image", "warn", f"{facts.image} is of another version", "Run `bulkhead images build`."
            )
        case _:
            return Finding("sandbox image", "fail", f"{facts.image} is missing", "Run `bulkhead images build`.")


def bubblewrap(facts: Facts) -> Finding:
    if facts.bubblewrap is not None and not facts.bubblewrap_error:
        return Finding("bubblewrap", "ok", facts.bubblewrap)
    needed = facts.driver == "bubblewrap" or (facts.driver == "auto" and facts.engine is None)
    detail = f"{facts.bubblewrap} makes no sandbox: {facts.bubblewrap_error}" if facts.bubblewrap else "not installed"
    if not needed:
        return Finding("bubblewrap", "ok", f"{detail}; not needed with an engine")
    return Finding("bubblewrap", "fail", detail, "Install bubblewrap and allow user namespaces, or start an engine.")


def ripgrep(facts: Facts) -> Finding:
    needed = facts.driver == "bubblewrap" or (facts.driver == "auto" and facts.engine is None)
    if facts.ripgrep or not needed:
        return Finding("ripgrep", "ok", "installed" if facts.ripgrep else "comes with the sandbox image")
    return Finding(
        "ripgrep", "warn", "not installed: the Grep tool of bubblewrap sandboxes lacks it", "Install ripgrep."
    )


def engine_disk(facts: Facts) -> Finding:
    if facts.engine is None:
        return Finding("engine disk", "ok", "no engine")
    if facts.engine.root_free is None:
        return Finding("engine disk", "ok", f"{facts.engine.root_dir} cannot be seen from here")
    return _room("engine disk", facts.engine.root_dir, facts.engine.root_free, 5 * GIB, GIB)


def data_disk(facts: Facts) -> Finding:
    if facts.data_free is None:
        return Finding("data disk", "warn", f"{facts.data_dir} cannot be looked at", "Set BULKHEAD_DATA_DIR.")
    return _room("data disk", facts.data_dir, facts.data_free, GIB, 100 * MIB)


def data_dir(facts: Facts) -> Finding:
    name, place = "data directory", facts.data_dir
    if facts.data_mode is None:
        return Finding(name, "ok", f"{place} is made at the first start")
    if facts.data_owner not in (facts.uid, 0):
        return Finding(name, "fail", f"{place} belongs to user {facts.data_owner}", f"chown it to user {facts.uid}.")
    if facts.data_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding(name, "fail", f"others can write to {place}", f"Run `chmod 700 {place}`.")
    if facts.data_mode & 0o077:
        return Finding(name, "warn", f"others can look into {place}", f"Run `chmod 700 {place}`.")
    return Finding(name, "ok", place)


def audit(facts: Facts) -> Finding:
    match facts.audit:
        case "sealed":
            return Finding("audit log", "ok", "its end is sealed; `bulkhead audit verify` checks all of it")
        case "absent":
            return Finding("audit log", "ok", "begun at the first start")
        case trouble:
            return Finding("audit log", "fail", trouble, "Run `bulkhead audit verify`; keep the files as evidence.")


def clock(facts: Facts) -> Finding:
    if facts.now + MAX_SKEW_SECONDS < facts.evidence:
        behind = round(facts.evidence - facts.now)
        return Finding("clock", "fail", f"runs at least {behind} s behind files on this host", "Set the clock (NTP).")
    skew = facts.engine.skew_seconds if facts.engine else None
    if skew is not None and abs(skew) > MAX_SKEW_SECONDS:
        return Finding("clock", "warn", f"differs from the engine's by {round(skew)} s", "Run NTP on both.")
    return Finding("clock", "ok", "plausible")


def workspace(facts: Facts) -> Finding:
    name, place = "workspace root", facts.workspace
    if facts.workspace_owner is None:
        return Finding(name, "fail", f"{place} is not a directory here", "Set WORKSPACE_ROOT to one.")
    if place == "/" or facts.workspace_is_home:
        return Finding(name, "warn", f"{place} holds more than code", "Set WORKSPACE_ROOT to a project directory.")
    if facts.workspace_owner == 0:
        return Finding(name, "warn", f"{place} belongs to root", "Give it to the user whose code it is.")
    return Finding(name, "ok", place)


def upstreams(facts: Facts) -> Finding:
    if facts.upstreams_error:
        return Finding("upstreams", "fail", facts.upstreams_error, "Correct it; docs/upstreams.md explains every key.")
    missing = [one for one in facts.upstreams if not one.credential and not one.open]
    if missing:
        names, places = (", ".join(words) for words in zip(*((one.name, one.place) for one in missing), strict=True))
        return Finding("upstreams", "warn", f"no credential for {names}", f"Set {places}.")
    told = (f"{one.name} ({one.kind}{'' if one.credential else ', no credential'})" for one in facts.upstreams)
    return Finding("upstreams", "ok", ", ".join(told))


def variables(facts: Facts) -> Finding:
    if not facts.unknown_variables:
        return Finding("variables", "ok", "every BULKHEAD_ variable is known")
    hints = []
    for name in facts.unknown_variables:
        close = difflib.get_close_matches(name, facts.known_variables, 1)
        hints.append(f"{name} (meant {close[0]}?)" if close else name)
    return Finding("variables", "warn", f"not a setting: {', '.join(hints)}", "Correct or unset them.")


CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    engine,
    runc,
    image,
    kernel,
    lsm,
    seccomp,
    cgroup,
    user_namespaces,
    bubblewrap,
    ripgrep,
    engine_disk,
    data_dir,
    data_disk,
    audit,
    clock,
    workspace,
    upstreams,
    variables,
)


def examine(facts: Facts) -> list[Finding]:
    """Every check's finding, in the order of the table."""
    return [check(facts) for check in CHECKS]


def _room(name: str, place: str, free: int, low: int, least: int) -> Finding:
    status: Status = "fail" if free < least else "warn" if free < low else "ok"
    remedy = "" if status == "ok" else f"Make room on the disk of {place}."
    return Finding(name, status, f"{free / GIB:.1f} GiB free at {place}", remedy)
