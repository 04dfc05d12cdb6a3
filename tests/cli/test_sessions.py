"""`bulkhead sessions` against a real gateway with real sandboxes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.demo.processes import descendants, still_running
from tests.support.gateway import Gateway
from tests.support.processes import free_port, plain_environment
from tests.support.scripted import ScriptedUpstream

BASH = {
    "name": "Bash",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
SCENARIO = {
    "turns": [
        {"blocks": [{"tool_use": {"name": "Bash", "input": {"command": "echo hello"}}}]},
        {"text": "done", "expect": {"last_tool_result": {"equals": "hello"}}},
    ]
}


@dataclass
class Served:
    """A gateway with the embedded driver, and the command line pointed at its data directory."""

    gateway: Gateway
    folder: Path

    def open_session(self, key: str, name: str) -> str:
        """The id of a fresh session with an open sandbox."""
        body = {
            "model": "claude-scripted-1",
            "max_tokens": 100,
            "tools": [BASH],
            "messages": [{"role": "user", "content": "say hello"}],
        }
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "x-bulkhead-session": name}
        with httpx.Client(base_url=self.gateway.url, headers=headers, trust_env=False, timeout=60) as client:
            assert client.post("/v1/messages", json=body).json()["stop_reason"] == "end_turn"
            listed = client.get("/api/sessions").json()["data"]
        return next(one["id"] for one in listed if one["client_session"] == name)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = plain_environment(
            self.folder,
            BULKHEAD_DATA_DIR=str(self.gateway.data_dir),
            **{"PORT": self.gateway.url.rpartition(":")[2], **variables},
        )
        command = [sys.executable, "-m", "gateway.cli", "sessions", *arguments]
        return subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    def alive(self, session: str) -> bool:
        state: str = json.loads(self.run("show", session, "--json").stdout)["state"]
        return state == "open"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    folder = Path(tempfile.mkdtemp(prefix="bulkhead-test-")).resolve()
    folder.chmod(0o755)
    workspace = folder / "workspace"
    workspace.mkdir()
    if os.geteuid() == 0:
        os.chown(workspace, 10001, 10001)
    upstream = ScriptedUpstream(SCENARIO, folder / "upstream")
    gateway = Gateway(folder / "gateway", upstream.url, workspace, BULKHEAD_SANDBOX_DRIVER="bubblewrap")
    yield Served(gateway, folder / "gateway")
    gateway.process.stop()
    upstream.stop()
    shutil.rmtree(folder)


@pytest.fixture
def alice(served: Served) -> str:
    return served.gateway.key("alice")


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("bulkhead: ")
    return line


def test_an_open_session_is_listed_and_shown(served: Served, alice: str) -> None:
    session = served.open_session(alice, "listed")
    listed = json.loads(served.run("list", "--open", "--json").stdout)
    (entry,) = [one for one in listed if one["id"] == session]
    assert (entry["subject"], entry["state"], entry["driver"]) == ("alice", "open", "bubblewrap")
    shown = served.run("show", session).stdout
    assert str(served.gateway.workspace_root) in shown
    assert session in served.run("list").stdout


def test_the_operator_closes_a_session_without_having_a_key_of_its_subject(served: Served, alice: str) -> None:
    before = descendants(served.gateway.process.pid)
    session = served.open_session(alice, "closed")
    sandbox = descendants(served.gateway.process.pid) - before
    assert "bwrap" in {process.name for process in sandbox}
    done = served.run("close", session)
    assert done.returncode == 0, done.stderr
    assert not served.alive(session)
    assert still_running(sandbox) == []
    made = served.gateway.events("key.created", "alice", name="sessions-close")
    revoked = {event["key_id"] for event in served.gateway.events("key.revoked", "alice")}
    assert made
    assert {event["key_id"] for event in made} <= revoked


def test_a_key_that_is_given_is_used_and_none_is_made(served: Served, alice: str) -> None:
    session = served.open_session(alice, "own-key")
    before = len(served.gateway.events("key.created"))
    done = served.run("close", session, "--json", BULKHEAD_API_KEY=alice)
    assert json.loads(done.stdout) == {"id": session, "closed": True}
    assert not served.alive(session)
    assert len(served.gateway.events("key.created")) == before


def test_a_key_of_somebody_else_closes_nothing(served: Served, alice: str) -> None:
    session = served.open_session(alice, "foreign")
    done = served.run("close", session, "--key", served.gateway.key("mallory"))
    assert done.returncode == 1
    assert "alice" in one_sentence(done)
    assert served.alive(session)


def test_the_key_made_for_closing_is_revoked_when_closing_fails(served: Served, alice: str) -> None:
    session = served.open_session(alice, "unreachable")
    done = served.run("close", session, "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "no gateway answers" in one_sentence(done)
    assert served.alive(session)
    made = {event["key_id"] for event in served.gateway.events("key.created", "alice", name="sessions-close")}
    assert made <= {event["key_id"] for event in served.gateway.events("key.revoked", "alice")}


def test_closing_twice_and_unknown_names_are_told_in_one_sentence(served: Served, alice: str) -> None:
    session = served.open_session(alice, "twice")
    assert served.run("close", session).returncode == 0
    assert "already closed" in one_sentence(served.run("close", session))
    assert "there is no session" in one_sentence(served.run("show", "s-unknown"))
    assert "there is no session" in one_sentence(served.run("close", "s-unknown"))


def test_port_zero_asks_for_the_url(served: Served, alice: str) -> None:
    session = served.open_session(alice, "no-port")
    done = served.run("close", session, PORT="0")
    assert done.returncode == 2
    assert "--url" in one_sentence(done)
