"""From a profile and a checked workspace to the engine's create request. Pure: no file, no socket.

Everything the engine would take from the image is set here, so that an image cannot widen what it runs with.
"""

import json
from dataclasses import dataclass
from typing import Any

from gateway.broker.profile import HOME, MASKED_PATHS, READONLY_PATHS, SEARCH_PATH, Limits, Profile

__all__ = ["TOOLHOST", "HostSecurity", "Mount", "create_body", "prepare_body"]

TOOLHOST = "/opt/bulkhead/toolhost"
ENTRYPOINT = ["python3", "-I", "-S", TOOLHOST]
NEVER_HEALTHCHECK = {"Test": ["NONE"]}
VICTIM_FIRST = 200
"""oom_score_adj: when the whole host runs out of memory, sandboxes go before services."""


@dataclass(frozen=True)
class HostSecurity:
    """Which mandatory access control the engine has; asked of the engine, never assumed."""

    apparmor: bool = False
    selinux: bool = False
    private_cgroupns: bool = True


@dataclass(frozen=True)
class Mount:
    """One thing mounted into the sandbox: a host directory or file, or a named volume."""

    source: str
    target: str
    volume: bool = False
    readonly: bool = False

    def as_json(self) -> dict[str, Any]:
        if self.volume:
            return {
                "Type": "volume",
                "Source": self.source,
                "Target": self.target,
                "VolumeOptions": {"NoCopy": True},
            }
        return {
            "Type": "bind",
            "Source": self.source,
            "Target": self.target,
            "ReadOnly": self.readonly,
            "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
        }


def create_body(
    profile: Profile,
    *,
    uid: int,
    gid: int,
    mount: str,
    mounts: tuple[Mount, ...],
    labels: dict[str, str],
    host: HostSecurity,
) -> dict[str, Any]:
    """The whole request of one sandbox."""
    toolhost = {"roots": [mount, "/tmp", HOME], "workspace": mount, "home": HOME, "linger": True}
    extra = (Mount(profile.toolhost, TOOLHOST, readonly=True),) if profile.toolhost else ()
    return {
        "Image": profile.image,
        "Entrypoint": ENTRYPOINT,
        "Cmd": [],
        "User": f"{uid}:{gid}",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Domainname": "",
        "Env": [
            f"PATH={SEARCH_PATH}",
            f"HOME={HOME}",
            "LANG=C.UTF-8",
            "BULKHEAD_TOOLHOST=" + json.dumps(toolhost, separators=(",", ":")),
        ],
        "Labels": labels,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": False,
        "Tty": False,
        "StopSignal": "SIGKILL",
        "Healthcheck": NEVER_HEALTHCHECK,
        "HostConfig": {
            **_confinement(profile, host),
            **_limits(profile.limits),
            "Tmpfs": _tmpfs(profile.limits, uid, gid),
            "Mounts": [item.as_json() for item in (*mounts, *extra)],
        },
    }


def prepare_body(
    profile: Profile,
    *,
    mounts: tuple[Mount, ...],
    command: list[str],
    labels: dict[str, str],
    host: HostSecurity,
) -> dict[str, Any]:
    """A short-lived container of the broker's own: changes owners in a volume, sees nothing else, answers to
    nobody.
    """
    confinement = _confinement(profile, host)
    confinement["CapAdd"] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
    return {
        "Image": profile.image,
        "Entrypoint": command,
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Env": [f"PATH={SEARCH_PATH}"],
        "Labels": labels,
        "Healthcheck": NEVER_HEALTHCHECK,
        "HostConfig": {
            **confinement,
            **_limits(profile.limits),
            "Mounts": [item.as_json() for item in mounts],
        },
    }


def _confinement(profile: Profile, host: HostSecurity) -> dict[str, Any]:
    options = ["no-new-privileges:true", "seccomp=" + profile.seccomp]
    if host.apparmor:
        options.append("apparmor=docker-default")
    if host.selinux:
        options.append("label=type:container_t")
    confinement: dict[str, Any] = {
        "NetworkMode": "none",
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": options,
        "ReadonlyRootfs": True,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "Devices": [],
        "DeviceCgroupRules": [],
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "Init": False,
        "Runtime": profile.runtime,
    }
    if host.private_cgroupns:
        confinement["CgroupnsMode"] = "private"
    return confinement


def _limits(limits: Limits) -> dict[str, Any]:
    return {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": int(limits.cpus * 1e9),
        "PidsLimit": limits.pids,
        "ShmSize": limits.shm,
        "OomScoreAdj": VICTIM_FIRST,
        "OomKillDisable": False,
        "Ulimits": [
            {"Name": name, "Soft": value, "Hard": value}
            for name, value in (
                ("nofile", limits.nofile),
                ("fsize", limits.fsize),
                ("core", limits.core),
                ("msgqueue", limits.msgqueue),
            )
        ],
    }


def _tmpfs(limits: Limits, uid: int, gid: int) -> dict[str, str]:
    def options(size: int, inodes: int, mode: str, owner: tuple[int, int], *, execute: bool) -> str:
        run = "exec" if execute else "noexec"
        return f"rw,nosuid,nodev,{run},size={size},nr_inodes={inodes},mode={mode},uid={owner[0]},gid={owner[1]}"

    return {
        "/tmp": options(limits.tmp, limits.tmp_inodes, "1777", (0, 0), execute=True),
        HOME: options(limits.home, limits.home_inodes, "0700", (uid, gid), execute=True),
        "/run": options(limits.run, limits.run_inodes, "0755", (uid, gid), execute=False),
    }
