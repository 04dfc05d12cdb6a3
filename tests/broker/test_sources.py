"""Which directories may become a workspace, and as whom the sandbox runs."""

import os
from pathlib import Path

import pytest

from gateway.broker.errors import Refused
from gateway.broker.profile import SCRATCH_UID
from gateway.broker.sources import check_workspace, refuse_swapped
from gateway.broker.wire import Workspace


def test_a_bound_workspace_is_seen_at_its_own_path_as_its_owner(place: Path, project: Path) -> None:
    checked = check_workspace(Workspace(mode="bind", source=str(project)), [place])
    assert checked.mount == str(project)
    assert (checked.uid, checked.gid) == (project.stat().st_uid, project.stat().st_gid)
    assert [(item.source, item.target, item.readonly) for item in checked.mounts] == [
        (str(project), str(project), False)
    ]


def test_scratch_is_nobodys(place: Path) -> None:
    checked = check_workspace(Workspace(mode="scratch"), [place])
    assert (checked.mount, checked.uid, checked.mounts) == ("/workspace", SCRATCH_UID, ())


@pytest.mark.parametrize(
    ("mode", "source", "mount", "words"),
    [
        ("bind", None, None, "needs a source"),
        ("copy", None, None, "needs a source"),
        ("scratch", "{place}/project", None, "has no source"),
        ("bind", "/", None, "system"),
        ("bind", "/etc", None, "system"),
        ("bind", "/usr/local", None, "system"),
        ("bind", "/proc/self/cwd", None, "system"),
        ("bind", "/home", None, "system"),
        ("bind", "/root", None, "system"),
        ("bind", "/var", None, "system"),
        ("bind", "/run/docker", None, "system"),
        ("bind", "/opt/elsewhere", None, "outside"),
        ("bind", "{place}-sibling", None, "outside"),
        ("bind", "{place}/../etc", None, "without"),
        ("bind", "{place}/./project", None, "without"),
        ("bind", "//etc", None, "without"),
        ("bind", "{place}/project/", None, "without"),
        ("bind", "{place}/missing", None, "cannot be opened"),
        ("bind", "{place}/file", None, "not a directory"),
        ("bind", "{place}/link", None, "symbolic link"),
        ("bind", "{place}/link/inner", None, "symbolic link"),
        ("bind", "{place}/away", None, "symbolic link"),
        ("bind", "{place}/loop", None, "cannot be opened"),
        ("copy", "{place}/a,b", None, "must not contain"),
        ("copy", "{place}/a\\b", None, "must not contain"),
        ("bind", "{place}/project", "/", "mounted"),
        ("bind", "{place}/project", "/etc/x", "mounted"),
        ("bind", "{place}/project", "/home/agent", "mounted"),
        ("bind", "{place}/project", "/opt/bulkhead/toolhost", "mounted"),
        ("bind", "{place}/project", "/tmp", "mounted"),
        ("bind", "{place}/project", "/srv/../etc", "without"),
        ("bind", "{place}/project", "/srv//x", "without"),
    ],
)
def test_refused(place: Path, project: Path, mode: str, source: str | None, mount: str | None, words: str) -> None:
    (project / "inner").mkdir()
    (place / "file").write_text("")
    (place / "link").symlink_to(project)
    (place / "away").symlink_to("/etc")
    (place / "loop").symlink_to("loop")
    for name in ("a,b", "a\\b"):
        (place / name).mkdir()
    named = source.format(place=place) if source is not None else None
    with pytest.raises(Refused, match=words) as caught:
        check_workspace(Workspace(mode=mode, source=named, mount=mount), [place])
    assert caught.value.reason == "workspace"


def test_without_an_allowed_root_nothing_is_a_workspace(project: Path) -> None:
    with pytest.raises(Refused, match="--allow-root"):
        check_workspace(Workspace(mode="bind", source=str(project)), [])


def test_what_root_owns_is_not_bound_but_may_be_copied() -> None:
    with pytest.raises(Refused, match="copy mode"):
        check_workspace(Workspace(mode="bind", source="/var/cache"), [Path("/var")])
    checked = check_workspace(Workspace(mode="copy", source="/var/cache"), [Path("/var")])
    assert checked.take_over and checked.uid == SCRATCH_UID


def test_what_the_host_obeys_is_mounted_read_only_and_cannot_be_moved(place: Path, project: Path) -> None:
    (project / ".git/hooks").mkdir(parents=True)
    (project / ".git/config").write_text("")
    (project / ".claude").mkdir()
    (project / ".mcp.json").write_text("")
    checked = check_workspace(Workspace(mode="bind", source=str(project), mount="/srv/code"), [place])
    assert [(item.target, item.readonly) for item in checked.mounts] == [
        ("/srv/code", False),
        ("/srv/code/.git", False),
        ("/srv/code/.git/hooks", True),
        ("/srv/code/.git/config", True),
        ("/srv/code/.claude", True),
        ("/srv/code/.mcp.json", True),
    ]


def test_a_git_file_that_points_elsewhere_is_read_only(place: Path, project: Path) -> None:
    (project / ".git").write_text("gitdir: /elsewhere")
    checked = check_workspace(Workspace(mode="bind", source=str(project)), [place])
    assert [(item.target, item.readonly) for item in checked.mounts[1:]] == [(f"{project}/.git", True)]


@pytest.mark.parametrize("name", [".git", ".git/hooks", ".git/config", ".claude", ".mcp.json"])
def test_a_link_where_the_host_obeys_is_refused(place: Path, project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="not a link"):
        check_workspace(Workspace(mode="bind", source=str(project)), [place])


def test_a_directory_swapped_after_the_check_is_noticed(place: Path, project: Path) -> None:
    checked = check_workspace(Workspace(mode="bind", source=str(project)), [place])
    refuse_swapped(checked, os.getpid())
    project.rename(place / "before")
    project.symlink_to("/etc")
    with pytest.raises(Refused, match="changed"):
        refuse_swapped(checked, os.getpid())
