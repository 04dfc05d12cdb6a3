"""What holds for a sandbox of every driver. A new driver passes this file or states the exception in `guarantees`."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from driver_boxes import OpenBox, give_away, opened

from gateway.sandbox.driver import Driver, SandboxSpec, Workspace
from gateway.sandbox.errors import SandboxError, SandboxGone, WorkspaceRefused

SCRATCH = Workspace("scratch")


async def test_a_fresh_sandbox_answers_and_runs_a_program(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    await box.toolhost.ping()
    assert await box.run("true") == (0, "")
    assert await box.run("sh", "-c", "exit 3") == (3, "")
    assert await box.sandbox.alive()


async def test_everything_inside_is_unprivileged(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    _, status = await box.run("cat", "/proc/self/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split() and str(box.sandbox.uid) in facts["Uid"].split()
    assert "0" not in facts["Gid"].split()
    assert "0" not in facts["Groups"].split()
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, kind
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"


async def test_there_is_no_network_to_reach_anything_by(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    _, devices = await box.run("cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in devices.splitlines()[2:]] == ["lo"]
    _, routes = await box.run("cat", "/proc/net/route")
    assert routes.splitlines()[1:] == []
    _, routes = await box.run("sh", "-c", "cat /proc/net/ipv6_route 2>/dev/null || true")
    assert {line.split()[-1] for line in routes.splitlines()} <= {"lo"}


async def test_only_the_own_places_can_be_written(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    for path in ("/x", "/usr/x", "/etc/x", "/opt/x", "/opt/bulkhead/toolhost/x", "/dev/x", "/proc/sys/kernel/hostname"):
        code, output = await box.run("sh", "-c", f"echo x > {path}")
        assert code != 0, path
        assert "Read-only" in output or "Permission denied" in output or "nonexistent" in output, output
    for path in ("/tmp/x", "/home/agent/x", "/dev/shm/x", f"{box.sandbox.workspace}/x"):
        assert await box.run("sh", "-c", f"echo x > {path}") == (0, ""), path


async def test_programs_in_the_memory_places_cannot_gain_privileges(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    _, mounts = await box.run("cat", "/proc/self/mounts")
    options = {line.split()[1]: set(line.split()[3].split(",")) for line in mounts.splitlines()}
    for place in ("/tmp", "/home/agent", "/run", "/dev/shm"):
        assert {"nosuid", "nodev"} <= options[place], place


async def test_the_environment_holds_nothing_of_the_host(
    driver: Driver, open_box: OpenBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "a-secret")
    box = await open_box(driver, SCRATCH)
    _, output = await box.python("import json, os; print(json.dumps(dict(os.environ)))")
    assert "a-secret" not in output
    allowed = {"PATH", "HOME", "LANG", "PWD", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM"}
    assert set(json.loads(output)) <= allowed
    _, names = await box.run("cat", "/etc/passwd", "/etc/hosts")
    assert os.uname().nodename not in names.split()


async def test_no_process_of_the_host_is_seen(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    code, output = await box.python("import os; print([p for p in os.listdir('/proc') if p.isdigit()])")
    assert code == 0
    assert len(json.loads(output.replace("'", '"'))) == 2


async def test_what_is_written_in_a_bound_workspace_is_the_owners_on_the_host(
    driver: Driver, open_box: OpenBox, project: Path
) -> None:
    box = await open_box(driver, Workspace("bind", str(project)))
    assert box.sandbox.workspace == str(project)
    assert await box.run("sh", "-c", "cat README && echo made > inside") == (0, "of the host\n")
    assert (project / "inside").read_text() == "made\n"
    assert (project / "inside").stat().st_uid == project.stat().st_uid == box.sandbox.uid


async def test_a_bound_workspace_can_be_seen_under_another_path(
    driver: Driver, open_box: OpenBox, project: Path
) -> None:
    box = await open_box(driver, Workspace("bind", str(project), "/srv/code"))
    assert box.sandbox.workspace == "/srv/code"
    assert await box.run("cat", "/srv/code/README") == (0, "of the host\n")


async def test_what_the_host_would_execute_is_read_only(driver: Driver, open_box: OpenBox, project: Path) -> None:
    (project / ".git/hooks").mkdir(parents=True)
    (project / ".git/config").write_text("[core]\n")
    (project / ".claude").mkdir()
    (project / ".claude/settings.json").write_text("{}")
    (project / ".mcp.json").write_text("{}")
    give_away(project)
    box = await open_box(driver, Workspace("bind", str(project)))
    for attempt in (
        "echo x > .git/hooks/pre-commit",
        "echo x >> .git/config",
        "rm -f .git/config",
        "mv .git/hooks .git/other",
        "mv .git elsewhere",
        "rm -rf .git",
        "echo x > .claude/settings.json",
        "mv .claude other",
        "echo x > .mcp.json",
        "rm -f .mcp.json",
    ):
        code, _ = await box.run("sh", "-c", attempt)
        assert code != 0, attempt
    assert await box.run("sh", "-c", "echo ref > .git/HEAD && echo x > free") == (0, "")
    assert (project / ".git/config").read_text() == "[core]\n"
    assert list((project / ".git/hooks").iterdir()) == []
    assert (project / ".claude/settings.json").read_text() == "{}"
    assert (project / ".mcp.json").read_text() == "{}"


@pytest.mark.parametrize("place", ["/tmp", "/home/agent"])
async def test_memory_places_are_full_at_their_size(driver: Driver, open_box: OpenBox, place: str) -> None:
    box = await open_box(driver, SCRATCH)
    code, output = await box.run("sh", "-c", f"head -c 600M /dev/zero > {place}/big")
    assert code != 0
    assert "No space left" in output
    await box.toolhost.ping()


async def test_a_file_has_a_largest_size(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    code, _ = await box.run("truncate", "-s", "5G", "/tmp/huge")
    assert code != 0


async def test_a_fork_bomb_stays_inside_and_the_session_goes_on(driver: Driver, open_box: OpenBox) -> None:
    box = await open_box(driver, SCRATCH)
    bomb = await box.toolhost.spawn(
        [
            "python3",
            "-c",
            "import os\nwhile True:\n try: os.fork()\n except BlockingIOError: print('full', flush=True)",
        ],
        cwd="/tmp",
    )
    async with asyncio.timeout(60):
        async for _, data in bomb.output():
            if b"full" in data:
                break
    await bomb.kill()
    assert await box.run("true") == (0, "")


async def test_closing_twice_is_closing_once_and_nothing_answers_after(driver: Driver) -> None:
    sandbox = await driver.open(SandboxSpec("s", SCRATCH))
    await sandbox.close()
    await sandbox.close()
    assert not await sandbox.alive()
    with pytest.raises(SandboxGone):
        await sandbox.attach()


async def test_closing_ends_what_still_runs(driver: Driver, project: Path) -> None:
    async with opened(driver, Workspace("bind", str(project))) as box:
        daemon = "setsid sh -c 'while :; do sleep 0.01; done' >/dev/null 2>&1 & echo started"
        assert await box.run("sh", "-c", daemon) == (0, "started\n")
        assert processes_below(project) != []
    assert processes_below(project) == []


async def test_a_toolhost_that_ends_is_noticed(driver: Driver) -> None:
    sandbox = await driver.open(SandboxSpec("s", SCRATCH))
    try:
        stream = await sandbox.attach()
        await asyncio.wait_for(stream.read(), 30)
        stream.write(b"\xff" * 64)
        await stream.drain()
        async with asyncio.timeout(30):
            while await stream.read():
                continue
            while await sandbox.alive():
                await asyncio.sleep(0)
        assert (await sandbox.stderr_tail()).startswith("toolhost:")
    finally:
        await sandbox.close()


async def test_many_open_at_once(driver: Driver) -> None:
    async def one(number: int) -> str:
        async with opened(driver, SCRATCH, f"s-{number}") as box:
            assert await box.run("true") == (0, "")
            return box.sandbox.id

    ids = await asyncio.gather(*(one(number) for number in range(8)))
    assert len({name[:4] for name in ids}) == 8


async def test_reaping_removes_only_sessions_that_are_not_kept(driver: Driver) -> None:
    kept = await driver.open(SandboxSpec("kept", SCRATCH))
    lost = await driver.open(SandboxSpec("lost", SCRATCH))
    try:
        removed = await driver.reap(["kept"])
        assert len(removed) == 1 and lost.id in removed[0]
        assert await kept.alive()
        assert not await lost.alive()
    finally:
        await kept.close()
        await lost.close()


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        (Workspace("bind", "/etc"), "system"),
        (Workspace("bind", "/"), "system"),
        (Workspace("bind", "/home/nobody-here"), "outside"),
        (Workspace("bind"), "needs a source"),
        (Workspace("bind", "{projects}/missing"), "cannot be opened"),
        (Workspace("bind", "{projects}/project/../project"), "without"),
        (Workspace("bind", "{projects}/link"), "symbolic link"),
        (Workspace("bind", "{projects}/file"), "not a directory"),
        (Workspace("bind", "{projects}/project", "/etc/x"), "mounted"),
        (Workspace("scratch", None, "/proc"), "mounted"),
    ],
)
async def test_workspaces_that_must_not_be_are_refused(
    driver: Driver, projects: Path, project: Path, workspace: Workspace, words: str
) -> None:
    (projects / "link").symlink_to(project)
    (projects / "file").write_text("")
    source = workspace.source.format(projects=projects) if workspace.source else None
    with pytest.raises(WorkspaceRefused, match=words):
        await driver.open(SandboxSpec("s", Workspace(workspace.mode, source, workspace.mount)))


async def test_a_profile_nobody_has_is_refused(driver: Driver) -> None:
    with pytest.raises(SandboxError) as caught:
        await driver.open(SandboxSpec("s", SCRATCH, profile="wide-open"))
    assert caught.value.reason == "unknown_profile"


async def test_cancelling_an_open_leaves_nothing(driver: Driver, project: Path) -> None:
    opening = asyncio.create_task(driver.open(SandboxSpec("s", Workspace("bind", str(project)))))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert processes_below(project) == []


def processes_below(place: Path) -> list[int]:
    """Processes of this machine whose working directory is here, sandboxed or not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            directory = (process / "cwd").readlink()
        except OSError:
            continue
        if directory.is_relative_to(place):
            found.append(int(process.name))
    return found
