"""`bulkhead demo` for real, and proof that each of its checks can fail."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from rich.console import Console

from gateway.cli.issuing import NewKey, issue
from gateway.demo.canary import Canary
from gateway.demo.checks import Facts, checks
from gateway.demo.conversation import Call
from gateway.demo.leftovers import Leftovers
from gateway.demo.processes import descendants, still_running
from gateway.demo.run import Run
from gateway.demo.sample import RIGHT, WRONG
from gateway.demo.script import DIFF, HOST_FILE, TESTS, TOUCHED, WRITTEN, Script
from gateway.demo.trail import Trail, read_trail
from gateway.settings import Settings
from gateway.store.engine import close_store, open_store
from tests.support.processes import ChildProcess, plain_environment, until

RUN_SECONDS = 120.0
PASSED_THROUGH = ("BULKHEAD_SANDBOX_IMAGE", "DOCKER_HOST")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Path]:
    """A directory for temporary directories that the sandbox's user can walk through."""
    folder = Path(tempfile.mkdtemp(prefix="bulkhead-test-")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def temporary(elsewhere: Path) -> Iterator[Path]:
    folder = elsewhere / "tmp"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


def start(folder: Path, temporary: Path, *arguments: str, **variables: str) -> ChildProcess:
    passed = {name: os.environ[name] for name in PASSED_THROUGH if name in os.environ}
    env = plain_environment(folder, **{**passed, "TMPDIR": str(temporary), **variables})
    return ChildProcess([sys.executable, "-m", "gateway.cli", "demo", *arguments], folder=folder, env=env)


def processes_naming(directory: Path) -> list[str]:
    """Command lines and environments of this host's processes that name the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in text:
            found.append(entry.name)
    return found


def containers_on(directory: Path) -> list[str]:
    """Sandboxes, running or not, whose workspace lies below the directory."""
    with contextlib.closing(docker.APIClient(version="auto", timeout=30)) as client:
        found = client.containers(all=True, filters={"label": "bulkhead.source"})
    return [one["Id"] for one in found if one["Labels"]["bulkhead.source"].startswith(str(directory))]


def passed_checks(result: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in result["checks"]}


def assert_whole(process: ChildProcess, temporary: Path, driver: str) -> None:
    status = process.wait(RUN_SECONDS)
    assert status == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["ok"] is True
    assert result["driver"] == driver
    assert result["unenforced"]
    assert set(passed_checks(result).values()) == {True}
    assert passed_checks(result).keys() == {check.name for check in checks(GOOD)}
    failed = [call["arguments"].get("command") for call in result["calls"] if call["name"] == "Bash" and call["failed"]]
    assert TESTS in failed
    assert f"+    {RIGHT}" in result["diff"]
    assert result["audit"]["whole"] is True
    assert result["audit"]["answered"] == len(result["calls"])
    assert result["audit"]["unanswered"] == 0
    assert "The discount is fixed" in process.stderr
    assert "Network is unreachable" in process.stderr
    assert list(temporary.iterdir()) == []
    assert processes_naming(temporary) == []


@pytest.mark.engine
def test_a_run_in_docker_passes_every_check_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    assert_whole(start(tmp_path, temporary, "--json", "--driver", "docker"), temporary, "docker")
    assert containers_on(temporary) == []


def test_a_run_in_bubblewrap_passes_every_check_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    assert_whole(start(tmp_path, temporary, "--json", "--driver", "bubblewrap"), temporary, "bubblewrap")


def test_a_run_for_people_says_what_the_driver_lacks_keeps_what_it_should_and_ends_with_ok(
    tmp_path: Path, temporary: Path
) -> None:
    process = start(tmp_path, temporary, "--keep", "--driver", "bubblewrap")
    assert process.wait(RUN_SECONDS) == 0, process.stdout
    assert process.stdout.splitlines()[-1] == "demo: ok"
    before_session = process.stdout.partition("the session, as it happens")[0]
    assert "Memory and processor time are not limited" in before_session
    assert "\x1b" not in process.stdout
    (kept,) = temporary.iterdir()
    assert f"Kept, as asked: {kept}" in process.stdout
    assert {"invoices", "data", "gateway.log", "upstream.jsonl"} <= {path.name for path in kept.iterdir()}
    assert RIGHT in (kept / "invoices" / "invoice.py").read_text(encoding="utf-8")


def test_an_interrupted_run_ends_everything_and_fails(tmp_path: Path, temporary: Path) -> None:
    process = start(tmp_path, temporary, "--driver", "bubblewrap")
    until(lambda: "FAIL: test_discount" in process.stdout or None, "the session to be under way")
    process.signal(signal.SIGTERM)
    assert process.wait(RUN_SECONDS) == 1
    assert process.stdout.splitlines()[-1] == "demo: failed"
    assert "The demo was interrupted." in process.stdout
    assert "✗ nothing was left behind" not in process.stdout
    assert list(temporary.iterdir()) == []
    assert processes_naming(temporary) == []


def test_a_gateway_that_cannot_start_fails_the_run_and_is_quoted(tmp_path: Path, temporary: Path) -> None:
    process = start(tmp_path, temporary, "--driver", "docker", DOCKER_HOST="unix:///nonexistent/engine.sock")
    assert process.wait(RUN_SECONDS) == 1
    assert "The gateway ended at its start" in process.stdout
    assert process.stdout.splitlines()[-1] == "demo: failed"
    assert list(temporary.iterdir()) == []


async def test_an_answer_that_is_not_as_scripted_fails_the_run(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    scripted = Script.scenario

    def other(script: Script) -> dict[str, Any]:
        scenario = scripted(script)
        scenario["turns"][2]["expect"]["tool_results"][3]["contains"] = "all is well"
        return scenario

    monkeypatch.setattr(Script, "scenario", other)
    console = Console(file=io.StringIO())
    outcome = await Run(Settings(sandbox_driver="bubblewrap"), console, keep=False).run()
    assert not outcome.ok
    (complaint,) = [check.detail for check in outcome.checks if check.name == "the session went as scripted"]
    assert "The scripted model complained" in complaint
    assert "should contain 'all is well'" in complaint
    assert {"the audit chain is verified", "nothing was left behind"} <= {one.name for one in outcome.checks if one.ok}
    assert list(temporary.iterdir()) == []


# -- the checks themselves

SCRIPT = Script("/srv/space", "/srv/host/secret", 4711)


def _bash(command: str, text: str, code: int = 0) -> Call:
    return Call("Bash", {"command": command}, text, code, code != 0)


FAILING_TESTS = _bash(TESTS, "Exit code 1\nFAILED (failures=1)", 1)
PASSING_TESTS = _bash(TESTS, "Ran 3 tests in 0.001s\n\nOK")
HOST_READ = Call("Read", {"file_path": HOST_FILE}, f"{HOST_FILE} is outside the sandbox workspace.", 1, True)
THEFT = _bash(SCRIPT.steal, "cat: /srv/host/secret: No such file or directory", 1)
CONNECTING = _bash(SCRIPT.connect, "routes: 0\n192.0.2.1:80 Network is unreachable\n127.0.0.1:4711 Connection refused")
WRITING = Call("Write", {"file_path": WRITTEN}, f"{WRITTEN} is outside the sandbox workspace.", 1, True)
TOUCHING = _bash(SCRIPT.touch, f"touch: cannot touch '{TOUCHED}': Read-only file system", 1)
DIFFING = _bash(DIFF, f"-    {WRONG}\n+    {RIGHT}")
CALLS = (FAILING_TESTS, PASSING_TESTS, HOST_READ, THEFT, CONNECTING, WRITING, TOUCHING, DIFFING)

GOOD = Facts(
    SCRIPT,
    CALLS,
    "end_turn",
    program=f"    {RIGHT}\n",
    trail=Trail(events=40, whole=True, problems=(), answered=len(CALLS)),
)


def instead(old: Call, new: Call) -> Facts:
    return dataclasses.replace(GOOD, calls=[new if call is old else call for call in CALLS])


def changed(**fields: Any) -> Facts:
    return dataclasses.replace(GOOD, **fields)


def failing(facts: Facts) -> set[str]:
    return {check.name for check in checks(facts) if not check.ok}


def test_facts_of_a_good_run_pass_every_check() -> None:
    assert failing(GOOD) == set()


REACHED = dataclasses.replace(CONNECTING, text="routes: 0\n192.0.2.1:80 CONNECTED\n127.0.0.1:4711 Connection refused")
ROUTED = dataclasses.replace(CONNECTING, text=CONNECTING.text.replace("routes: 0", "routes: 1"))
BROKEN = Trail(events=40, whole=False, problems=("event 3: altered",), answered=len(CALLS))

SABOTAGE: dict[str, tuple[Facts, str]] = {
    "a deviation": (changed(deviations=["not as scripted"]), "the session went as scripted"),
    "no end": (changed(stop_reason=None), "the session went as scripted"),
    "green from the start": (instead(FAILING_TESTS, PASSING_TESTS), "the tests failed first"),
    "red to the end": (instead(PASSING_TESTS, FAILING_TESTS), "the tests passed after the edit"),
    "edit lost on the host": (changed(program=f"    {WRONG}\n"), "the edit is in the workspace"),
    "host file read": (
        instead(HOST_READ, dataclasses.replace(HOST_READ, text="1\troot:*:", failed=False)),
        "the host's files were refused",
    ),
    "secret printed": (instead(THEFT, _bash(SCRIPT.steal, "secret")), "the host's files were refused"),
    "secret sent to the model": (changed(secret_seen=True), "the host's files were refused"),
    "network reached": (instead(CONNECTING, REACHED), "the network was refused"),
    "a route": (instead(CONNECTING, ROUTED), "the network was refused"),
    "the host was connected to": (changed(canary_connections=1), "the network was refused"),
    "network never tried": (instead(CONNECTING, DIFFING), "the network was refused"),
    "written outside": (
        instead(WRITING, dataclasses.replace(WRITING, text="created", failed=False)),
        "writing outside the workspace was refused",
    ),
    "touched outside": (instead(TOUCHING, _bash(SCRIPT.touch, "")), "writing outside the workspace was refused"),
    "a file on the host": (changed(written_outside=[TOUCHED]), "writing outside the workspace was refused"),
    "chain broken": (changed(trail=BROKEN), "the audit chain is verified"),
    "intent without result": (
        changed(trail=dataclasses.replace(GOOD.trail, unanswered=1)),
        "the audit chain is verified",
    ),
    "a call without record": (
        changed(trail=dataclasses.replace(GOOD.trail, answered=7)),
        "the audit chain is verified",
    ),
    "a container": (changed(leftovers=Leftovers(containers=("c",))), "nothing was left behind"),
    "a volume": (changed(leftovers=Leftovers(volumes=("v",))), "nothing was left behind"),
    "a process": (changed(leftovers=Leftovers(processes=("sleep (1)",))), "nothing was left behind"),
    "a file": (changed(leftovers=Leftovers(files=("/tmp/x",))), "nothing was left behind"),
    "an engine not asked": (changed(leftovers=Leftovers(unknown=("?",))), "nothing was left behind"),
}


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_fact_that_is_wrong_fails_its_check_and_no_other(sabotage: str) -> None:
    facts, check = SABOTAGE[sabotage]
    assert failing(facts) == {check}


def test_a_run_that_did_nothing_passes_nothing_but_leaving_nothing() -> None:
    named = {check.name for check in checks(GOOD)}
    assert failing(Facts(SCRIPT, (), None)) == named - {"nothing was left behind"}


def test_a_tampered_audit_log_is_seen_in_the_trail(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, workspace_root=tmp_path / "work", database_url=None)
    engine = open_store(settings.store_url)
    for name in ("one", "two"):
        issue(settings, engine, NewKey(name, "demo"), "test")
    assert read_trail(settings).whole
    with engine.begin() as connection:
        connection.exec_driver_sql('UPDATE audit_events SET body = \'{"name":"other"}\' WHERE seq = 1')
    close_store(engine)
    trail = read_trail(settings)
    assert not trail.whole
    assert failing(changed(trail=trail)) == {"the audit chain is verified"}


async def test_the_canary_counts_whoever_reaches_it() -> None:
    canary = Canary()
    async with canary.listening():
        reader, writer = await asyncio.open_connection("127.0.0.1", canary.port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    assert canary.connections == 1


def test_a_process_that_changed_its_session_is_found_until_it_ends() -> None:
    command = ["sh", "-c", "setsid sleep 60 & echo $!; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        sleeping = int(shell.stdout.readline())
        found = {alive for alive in descendants(shell.pid) if alive.pid == sleeping}
        assert found
        assert still_running(found)
        os.kill(sleeping, signal.SIGKILL)
    assert still_running(found) == []
