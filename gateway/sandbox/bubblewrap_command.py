"""The command line that makes a bubblewrap sandbox. Pure but for a look at the host's root links.

The order is the meaning: later mounts lie over earlier ones, and the root is made read-only last. It must
not know processes or streams.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.broker.body import ENTRYPOINT, TOOLHOST, Mount
from gateway.broker.profile import HOME, SEARCH_PATH, Limits

__all__ = ["HostFile", "bubblewrap_command", "made_up_etc"]

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SCRATCH = 512 * 1024 * 1024
"""Bytes of an empty workspace: it lives in memory here."""

FROM_HOST = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/pki",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
"""Of the host's /etc only what programs need to load and to check certificates; nothing that names users or
hosts.
"""


def made_up_etc(uid: int, gid: int) -> dict[str, str]:
    """Made-up files of /etc: the sandbox's user and nobody else."""
    return {
        "/etc/passwd": f"agent:x:{uid}:{gid}:agent:{HOME}:/bin/bash\n",
        "/etc/group": f"agent:x:{gid}:\n",
        "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


@dataclass(frozen=True)
class HostFile:
    """Contents in an inherited descriptor, to appear at a path inside."""

    descriptor: int
    path: str


def bubblewrap_command(
    *,
    limits: Limits,
    uid: int,
    gid: int,
    become: bool,
    limit_processes: bool,
    toolhost: Path | None,
    workspace: str,
    mounts: Sequence[Mount],
    files: Sequence[HostFile],
    filter_descriptor: int | None,
    info_descriptor: int,
    program: Sequence[str] | None = None,
) -> list[str]:
    """The whole command. `become` (a gateway that is root): give up root before anything else, so that the
    sandbox's user is that user outside too. Without mounts the workspace is empty and in memory. Without
    `toolhost` its files are among `files`.
    """
    command = []
    if become:
        command += ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    command += ["prlimit", f"--nofile={limits.nofile}", f"--fsize={limits.fsize}", f"--core={limits.core}"]
    command += [f"--msgqueue={limits.msgqueue}", "--", "bwrap"]
    command += ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(uid), "--gid", str(gid)]
    command += ["--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    command += ["--info-fd", str(info_descriptor)]
    if filter_descriptor is not None:
        command += ["--seccomp", str(filter_descriptor)]
    command += _system(toolhost)
    for item in files:
        command += ["--perms", "0444", "--file", str(item.descriptor), item.path]
    command += [*_memory("/dev/shm", limits.shm, "1777"), "--remount-ro", "/dev"]
    command += _memory("/run", limits.run, "0755") + _memory("/tmp", limits.tmp, "1777")
    command += _memory(HOME, limits.home, "0700")
    command += _workspace(workspace, mounts)
    command += ["--remount-ro", "/", "--chdir", "/"]
    command += _environment(workspace)
    command.append("--")
    if limit_processes:
        command += ["prlimit", f"--nproc={limits.pids}", "--"]
    return [*command, *(program or ENTRYPOINT)]


def _system(toolhost: Path | None) -> list[str]:
    part = ["--ro-bind", "/usr", "/usr"]
    for name in MERGED:
        place = Path("/", name)
        if place.is_symlink():
            part += ["--symlink", str(place.readlink()), f"/{name}"]
        elif place.is_dir():
            part += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in FROM_HOST:
        part += ["--ro-bind-try", path, path]
    if toolhost is not None:
        part += ["--ro-bind", str(toolhost), TOOLHOST]
    return [*part, "--proc", "/proc", "--dev", "/dev"]


def _memory(path: str, size: int, mode: str) -> list[str]:
    return ["--perms", mode, "--size", str(size), "--tmpfs", path]


def _workspace(path: str, mounts: Sequence[Mount]) -> list[str]:
    if not mounts:
        return _memory(path, SCRATCH, "0755")
    part = []
    for item in mounts:
        part += ["--ro-bind" if item.readonly else "--bind", item.source, item.target]
    return part


def _environment(workspace: str) -> list[str]:
    toolhost = {"roots": [workspace, "/tmp", HOME], "workspace": workspace, "home": HOME, "linger": False}
    values = {
        "PATH": SEARCH_PATH,
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "BULKHEAD_TOOLHOST": json.dumps(toolhost, separators=(",", ":")),
    }
    part = ["--clearenv"]
    for name, value in values.items():
        part += ["--setenv", name, value]
    return part
