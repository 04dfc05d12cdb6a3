"""`bulkhead claude` with the real Claude Code: one command that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.query import Filter, find
from gateway.cli.claude import client_environment, split_arguments, upstream_secrets
from gateway.settings import Settings
from gateway.store.engine import StoreError, close_store, open_existing
from gateway.store.keys import KeyRecord, Keys
from tests.support import engine
from tests.support.claude_code import LOOPBACK_ONLY, STREAM_JSON, installed
from tests.support.gateway import Gateway
from tests.support.processes import ChildProcess, free_port, plain_environment, until
from tests.support.project import worker_directory
from tests.support.scripted import ScriptedUpstream
from tests.support.scripts import bash, calls, says

Script = Callable[..., "Command"]

WHERE = {"turns": [calls(bash("id -u; pwd; echo done > made-inside")), says("${last_tool_result}")]}


class Command:
    """`bulkhead claude` for one test: its data directory, its upstream, and runs of it."""

    def __init__(self, folder: Path, upstream: str, port: int = 0) -> None:
        self._folder = folder
        self.runs: list[ChildProcess] = []
        self.settings = Settings(data_dir=folder / "data", port=port)
        self.environment = plain_environment(
            folder,
            BULKHEAD_DATA_DIR=str(self.settings.data_dir),
            ANTHROPIC_ENDPOINT=upstream,
            ANTHROPIC_API_KEY="upstream-secret",
            PORT=str(port),
            **LOOPBACK_ONLY,
        )

    def start(self, directory: Path, *arguments: str, program: Path | None = None) -> ChildProcess:
        command = [sys.executable, "-m", "gateway.cli", "claude", "--cli", str(program or installed()), *arguments]
        folder = self._folder / f"run-{len(self.runs)}"
        self.runs.append(ChildProcess(command, folder=folder, env=self.environment, cwd=directory))
        return self.runs[-1]

    def issued(self) -> list[KeyRecord]:
        store = open_existing(self.settings.store_url)
        try:
            return Keys(store).list()
        finally:
            close_store(store)

    def events(self, kind: str) -> list[dict[str, Any]]:
        try:
            store = open_existing(self.settings.store_url)
        except StoreError:  # not made yet
            return []
        try:
            return [{**json.loads(e.body), "session": e.session} for e in find(store, Filter(kind=kind, limit=100))]
        finally:
            close_store(store)

    def container(self) -> str:
        """The newest container's name, once there is one."""
        opened = until(lambda: self.events("session.opened"), "a sandbox")[-1]
        return f"bulkhead-{opened['session']}-{opened['container']}"

    def assert_nothing_remains(self) -> None:
        assert engine.remaining(self.events("session.open")) == []
        assert [key.name for key in self.issued() if key.name.startswith("claude-") and key.revoked_at is None] == []
        assert not _processes_with(str(self.settings.data_dir))


def _processes_with(text: str) -> list[str]:
    """Processes that have `text` in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().decode(errors="replace"))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Starts the upstream with a scenario, and gives the command that uses it."""
    started: list[tuple[ScriptedUpstream, Command]] = []

    def start(scenario: dict[str, Any], port: int = 0) -> Command:
        upstream = ScriptedUpstream(scenario, tmp_path / "upstream")
        started.append((upstream, Command(tmp_path, upstream.url, port)))
        return started[-1][1]

    yield start
    for upstream, command in started:
        for run in command.runs:
            run.stop()
        upstream.stop()
        assert upstream.refused() == []


@pytest.mark.engine
def test_one_command_runs_claude_code_with_its_tools_in_a_sandbox_and_cleans_up(tmp_path: Path, script: Script) -> None:
    directory = worker_directory(tmp_path)
    command = script(WHERE)
    run = command.start(directory, "-p", "where are you")
    assert run.wait() == 0, run.stderr
    assert run.stdout == f"10001\n{directory}\n"
    assert run.stderr == ""
    assert (directory / "made-inside").read_text() == "done\n"
    [key] = command.issued()
    assert (key.workspace, key.workspace_mode) == (str(directory), "bind")
    assert key.expires_at is not None
    command.assert_nothing_remains()


@pytest.mark.engine
def test_a_later_run_continues_the_conversation_with_its_history_intact(tmp_path: Path, script: Script) -> None:
    directory = worker_directory(tmp_path)
    after = {
        "name": "after",
        "match": {"user": "go on"},
        "turns": [says("On.", expect={"body_excludes": ["quoted as"]})],
    }
    command = script({"conversations": [{"name": "main", **WHERE}, after]})
    assert command.start(directory, "-p", "where are you").wait() == 0
    run = command.start(directory, "-p", "go on", "--continue")
    assert (run.wait(), run.stdout) == (0, "On.\n")
    assert len({key.subject for key in command.issued()}) == 1


@pytest.mark.engine
def test_a_directory_of_root_is_worked_on_as_a_copy_and_that_is_said(tmp_path: Path, script: Script) -> None:
    directory = tmp_path / "of-root"
    directory.mkdir()
    run = script(WHERE).start(directory, "-p", "where are you")
    assert (run.wait(), run.stdout) == (0, f"10001\n{directory}\n")
    assert "owned by root" in run.stderr
    assert run.stderr.count("\n") == 1
    assert list(directory.iterdir()) == []


@pytest.mark.engine
def test_a_running_gateway_is_used_when_it_serves_the_directory_and_only_then(tmp_path: Path, script: Script) -> None:
    port = free_port()
    command = script(WHERE, port)
    root = tmp_path / "root"
    root.mkdir()
    running = Gateway(tmp_path, command.environment["ANTHROPIC_ENDPOINT"], root, PORT=str(port))
    try:
        inside = command.start(worker_directory(root), "-p", "where are you")
        assert inside.wait() == 0, inside.stderr
        assert len(command.events("gateway.start")) == 1
        outside = command.start(worker_directory(tmp_path), "-p", "where are you")
        assert outside.wait() == 0, outside.stderr
        assert len(command.events("gateway.start")) == 2
        assert len(command.events("tool.result")) == 2
    finally:
        assert running.stop() == 0
    command.assert_nothing_remains()


@pytest.mark.engine
def test_two_at_once_do_not_take_each_others_sandboxes(tmp_path: Path, script: Script) -> None:
    answers = [calls(bash("until [ -e go ]; do sleep 0.1; done; echo waited")), says("${last_tool_result}")]
    slow = {"name": "slow", "match": {"user": "slowly"}, "turns": answers}
    command = script({"conversations": [slow, {"name": "quick", **WHERE}]})
    first, second = worker_directory(tmp_path), worker_directory(tmp_path)
    waiting = command.start(first, "-p", "slowly")
    command.container()
    assert command.start(second, "-p", "where are you").wait() == 0
    (first / "go").touch()
    assert (waiting.wait(), waiting.stdout) == (0, "waited\n")


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_claude_code_the_gateway_and_the_sandbox(
    number: signal.Signals, tmp_path: Path, script: Script
) -> None:
    command = script({"turns": [calls(bash("sleep 304")), says("never")]})
    run = command.start(worker_directory(tmp_path), "-p", "take long", *STREAM_JSON)
    container = command.container()
    until(lambda: "sleep 304" in engine.processes(container), "the command in the container")
    run.signal(number)
    run.wait()
    command.assert_nothing_remains()


@pytest.mark.engine
def test_a_gateway_that_dies_ends_the_command_with_a_sentence(tmp_path: Path, script: Script) -> None:
    command = script({"turns": [calls(bash("sleep 305")), says("never")]})
    run = command.start(worker_directory(tmp_path), "-p", "take long")
    container = command.container()
    until(lambda: "sleep 305" in engine.processes(container), "the command in the container")
    [gateway] = [int(pid) for pid in _children(run.pid) if "serve" in _command_line(pid)]
    os.kill(gateway, signal.SIGKILL)
    assert run.wait() == 1
    assert "the gateway ended" in run.stderr
    assert str(command.settings.data_dir / "own-gateway.log") in run.stderr
    until(lambda: engine.remaining(command.events("session.open")) == [], "the end of the sandbox")


@pytest.mark.engine
def test_the_programs_arguments_status_and_environment_pass_through(tmp_path: Path, script: Script) -> None:
    program = tmp_path / "claude"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"; env; exit 7\n')
    program.chmod(0o755)
    command = script({})
    run = command.start(worker_directory(tmp_path), "-p", "--cli", "--help", "a b", "--", "-x", program=program)
    assert run.wait() == 7
    assert run.stdout.startswith("-p|--cli|--help|a b|--|-x|")
    told = dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)
    assert told["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert told["ANTHROPIC_AUTH_TOKEN"].startswith("bh_")
    assert told["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert "upstream-secret" not in run.stdout


def test_without_claude_code_it_says_how_to_install_it(tmp_path: Path) -> None:
    env = {**plain_environment(tmp_path, BULKHEAD_DATA_DIR=str(tmp_path / "data")), "PATH": "/nowhere"}
    command = [sys.executable, "-m", "gateway.cli", "claude", "-p", "hi"]
    run = ChildProcess(command, folder=tmp_path, env=env)
    assert run.wait() == 1
    assert "npm install -g @anthropic-ai/claude-code" in run.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("given", "own", "rest"),
    [
        ([], [], []),
        (["-p", "hi", "--cli", "x"], [], ["-p", "hi", "--cli", "x"]),
        (["--cli", "x", "--help"], ["--cli", "x"], ["--help"]),
        (["--cli=x", "--workspace-mode", "copy", "-c"], ["--cli=x", "--workspace-mode", "copy"], ["-c"]),
        (["--", "--cli", "x"], [], ["--cli", "x"]),
        (["--help"], ["--help"], []),
        (["--version"], [], ["--version"]),
    ],
)
def test_own_options_are_taken_from_the_front_only(given: list[str], own: list[str], rest: list[str]) -> None:
    assert split_arguments(given) == (own, rest)


def test_claude_code_sees_no_credential_of_the_upstream_and_no_way_past_the_gateway() -> None:
    environ = {
        "ANTHROPIC_API_KEY": "upstream",
        "ANTHROPIC_BASE_URL": "https://elsewhere.example",
        "AZURE_ANTHROPIC_API_KEY": "upstream",
        "BULKHEAD_DATA_DIR": "/d",
        "CLAUDE_CODE_USE_VERTEX": "1",
        "DATABRICKS_API_KEY": "upstream",
        "DATABRICKS_CLIENT_SECRET": "upstream",
        "OPENAI_API_KEY": "upstream",
        "OWN_NAME_OF_A_TOKEN": "named in the upstreams file",
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "5",
        "NO_PROXY": "intern.example",
        "TERM": "xterm",
    }
    told = client_environment(environ, "http://127.0.0.1:1", "bh_secret", {"named in the upstreams file"})
    assert told["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert told["NO_PROXY"] == "intern.example,127.0.0.1,localhost"
    assert (told["TERM"], told["CLAUDE_STREAM_IDLE_TIMEOUT_MS"]) == ("xterm", "5")
    assert not {"upstream", "named in the upstreams file"} & set(told.values())
    assert not {"BULKHEAD_DATA_DIR", "CLAUDE_CODE_USE_VERTEX"} & set(told)


def test_secrets_that_an_upstreams_file_names_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "upstreams.yaml"
    file.write_text(
        "upstreams:\n  one:\n    kind: openai\n    url: http://127.0.0.1:9/v1\n    credential: {env: OWN_NAME}\n"
        "default: one\n"
    )
    monkeypatch.setenv("OWN_NAME", "its value")
    settings = Settings(upstreams=file, data_dir=tmp_path, workspace_root=tmp_path)
    assert upstream_secrets(settings) == {"its value"}


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _command_line(pid: str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
