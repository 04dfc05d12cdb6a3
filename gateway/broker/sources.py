"""Which host directories may become a workspace, where they are seen, and as whom the sandbox runs.

Reads directory entries, never file contents, and changes nothing. It must not know the engine.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from gateway.broker.body import Mount
from gateway.broker.errors import Refused
from gateway.broker.profile import HOME, SCRATCH_MOUNT, SCRATCH_UID
from gateway.broker.wire import Workspace

__all__ = ["PROTECTED", "Checked", "check_workspace", "refuse_swapped"]

PROTECTED: Final = (".git/hooks", ".git/config", ".claude", ".mcp.json")
"""What the host's own tools would execute or obey: read-only over a bound workspace where it exists."""

SYSTEM: Final = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
"""Never a source or a mount point, nor anything below."""

WHOLE: Final = (
    "/",
    "/home",
    "/mnt",
    "/media",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/tmp",
)
"""Too wide: something below may be one, these themselves never."""

OVERLAY_SYNTAX: Final = (":", ",", "\\")


@dataclass(frozen=True)
class Checked:
    """A workspace that passed: what to mount, where, and as whom."""

    mode: str
    source: str | None
    mount: str
    uid: int
    gid: int
    take_over: bool = False
    """copy only: the files are root's and are given to `uid` in the copy."""
    mounts: tuple[Mount, ...] = ()
    identities: tuple[tuple[str, int, int], ...] = ()
    """(path inside, device, inode) of everything bound, so that a swap between check and mount is seen."""


def check_workspace(workspace: Workspace, roots: Sequence[Path]) -> Checked:
    """Decide on a workspace. Raises `Refused` ("workspace") with what to do about it."""
    if workspace.mode == "scratch":
        if workspace.source is not None:
            raise _refused("a scratch workspace has no source")
        mount = _checked_mount(workspace.mount or SCRATCH_MOUNT)
        return Checked("scratch", None, mount, SCRATCH_UID, SCRATCH_UID)
    if workspace.source is None:
        raise _refused(f"a {workspace.mode} workspace needs a source")
    source = workspace.source
    facts = _checked_source(source, roots)
    mount = _checked_mount(workspace.mount or source)
    if workspace.mode == "copy":
        if any(sign in source for sign in OVERLAY_SYNTAX):
            raise _refused("a copied source's path must not contain ':', ',' or a backslash")
        if facts.st_uid == 0:
            return Checked("copy", source, mount, SCRATCH_UID, SCRATCH_UID, take_over=True)
        return Checked("copy", source, mount, facts.st_uid, facts.st_gid)
    if facts.st_uid == 0:
        raise _refused(
            f"{source} is owned by root and a sandbox never runs as root: "
            "chown it to the user who works there, or use copy mode"
        )
    mounts = (Mount(source, mount), *_protections(source, mount))
    return Checked("bind", source, mount, facts.st_uid, facts.st_gid, mounts=mounts, identities=_identities(mounts))


def refuse_swapped(checked: Checked, pid: int) -> None:
    """Compare what the first process of a sandbox sees with what was checked. Raises `Refused` when a
    directory was swapped in between.

    Only where that process can be looked at from here: a broker in a container of its own, or without root,
    sees nothing and relies on refusing sources inside the workspace of a running sandbox.
    """
    root = Path(f"/proc/{pid}/root")
    try:
        (root / "usr").stat()
    except OSError:
        return
    for target, device, inode in checked.identities:
        try:
            facts = (root / target.lstrip("/")).stat()
        except OSError as error:
            raise _refused(f"{target} cannot be seen in the sandbox: {error.strerror}") from error
        if (facts.st_dev, facts.st_ino) != (device, inode):
            raise _refused(f"{target} changed while it was being mounted")


def _refused(message: str) -> Refused:
    return Refused("workspace", message)


def _checked_source(source: str, roots: Sequence[Path]) -> os.stat_result:
    path = Path(source)
    if not _is_plain(source):
        raise _refused("a source is an absolute path without '.', '..' or doubled slashes")
    if _is_system(source):
        raise _refused(f"{source} belongs to the system and is never a workspace")
    if not any(path.is_relative_to(root) for root in roots):
        raise _refused(f"{source} is outside the allowed roots of the broker (--allow-root)")
    try:
        real = path.resolve(strict=True)
        facts = path.lstat()
    except (OSError, RuntimeError) as error:
        raise _refused(f"{source} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if real != path:
        raise _refused(f"{source} leads through a symbolic link; name the real directory")
    if not stat.S_ISDIR(facts.st_mode):
        raise _refused(f"{source} is not a directory")
    return facts


def _checked_mount(mount: str) -> str:
    if not _is_plain(mount):
        raise _refused("a mount point is an absolute path without '.', '..' or doubled slashes")
    if _is_system(mount) or mount == HOME or PurePosixPath(mount).is_relative_to("/opt/bulkhead"):
        raise _refused(f"nothing can be mounted at {mount}")
    return mount


def _is_plain(path: str) -> bool:
    return path.startswith("/") and not path.startswith("//") and path == os.path.normpath(path)


def _is_system(path: str) -> bool:
    return path in WHOLE or any(PurePosixPath(path).is_relative_to(top) for top in SYSTEM)


def _protections(source: str, mount: str) -> list[Mount]:
    """Read-only mounts over what the host would obey.

    `.git` itself is mounted onto itself first: a mount point cannot be renamed away and replaced by a tree
    of the sandbox's own making.
    """
    found: list[Mount] = []
    kind = _kind(source, ".git")
    if kind is not None:
        found.append(Mount(f"{source}/.git", f"{mount}/.git", readonly=kind == "file"))
    for name in PROTECTED:
        if name.startswith(".git/") and kind != "directory":
            continue
        if _kind(source, name) is not None:
            found.append(Mount(f"{source}/{name}", f"{mount}/{name}", readonly=True))
    return found


def _kind(source: str, name: str) -> str | None:
    try:
        mode = os.lstat(f"{source}/{name}").st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(f"{source}/{name} cannot be examined: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    raise _refused(f"{source}/{name} is protected and must be a plain file or directory, not a link or device")


def _identities(mounts: Sequence[Mount]) -> tuple[tuple[str, int, int], ...]:
    seen = []
    for item in mounts:
        facts = os.lstat(item.source)
        seen.append((item.target, facts.st_dev, facts.st_ino))
    return tuple(seen)
