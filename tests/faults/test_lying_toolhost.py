"""A toolhost that lies fools only its own session: it is closed, and the model is told."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.images.recipes import source_tree
from tests.support import engine
from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, started, verify_audit, workspaces
from tests.support.processes import ChildProcess, plain_environment, until
from tests.support.scenes import bash, calls, says, scene

pytestmark = pytest.mark.engine

LIES = [
    *("garbage", "huge", "list", "deep", "gap", "ack"),
    *("wrong-id", "wrong-type", "no-result", "output", "too-much", "exit"),
]

SCENES = [
    *(scene(f"tell {lie}", calls(bash(f"true LIE:{lie}")), says("told: ${last_tool_result}")) for lie in LIES),
    scene(
        "tell silence",
        calls(bash("touch silent; sleep 311 # LIE:silence", timeout=1000)),
        says("told: ${last_tool_result}"),
    ),
    scene("honest", calls(bash("ls /tmp/mark; touch /tmp/mark; echo honest")), says("${last_tool_result}")),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    """Over a broker of its own, which mounts the lying toolhost into every sandbox."""
    folder = tmp_path_factory.mktemp("lying")
    with workspaces() as root:
        lying = root / "toolhost"
        shutil.copytree(source_tree().images / "toolhost", lying, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).with_name("lying_toolhost.py"), lying / "__main__.py")
        socket = folder / "broker.sock"
        command = [sys.executable, "-m", "gateway.broker", "--gateway", "lying", "--socket", str(socket)]
        command += ["--allow-root", str(root), "--toolhost", str(lying)]
        broker = ChildProcess(command, folder=folder / "broker", env=plain_environment(folder), cwd=Path.cwd())
        until(socket.exists, "the broker")
        variables = {"BULKHEAD_SANDBOX_DRIVER": "docker", "BULKHEAD_BROKER_SOCKET": str(socket)}
        with started(folder, upstream_url, root, **variables) as running:
            yield running
            assert running.stop() == 0, running.process.stderr
        verify_audit(running)
        assert broker.stop() == 0


def asked(member: Member, prompt: str) -> Answer:
    return member.caller.ask(asking(prompt, BASH))


def lied(member: Member, gateway: Gateway, answer: Answer) -> None:
    """The lie was explained, its session is gone, and the next call has a fresh one."""
    assert answer.message["stop_reason"] == "end_turn"
    [told] = answer.results
    assert told.startswith("The sandbox of this session was lost while the call ran")
    assert answer.texts == [f"told: {told}"]
    [intent] = gateway.events("tool.intent", member.subject)
    ended = gateway.event("tool.result", member.subject)
    assert (ended["outcome"], ended["intent"]) == ("lost", intent["seq"])

    [result] = asked(member, "honest").results
    assert "No such file" in result and result.endswith("honest")
    first, second = gateway.events("session.opened", member.subject)
    assert gateway.event("session.close", member.subject)["session"] == first["session"]
    assert engine.remaining([first]) == []
    gateway.close_sessions(member.caller.key)
    assert engine.remaining([second]) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_the_session_with_an_explanation(lie: str, member: Member, gateway: Gateway) -> None:
    lied(member, gateway, asked(member, f"tell {lie}"))


def test_a_kill_that_is_not_answered_ends_the_session_and_holds_up_nobody_else(
    member: Member, gateway: Gateway
) -> None:
    other = join(gateway)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asked, member, "tell silence")
        until(lambda: (member.workspace / "silent").exists(), "the call to run")
        assert asked(other, "honest").results[0].endswith("honest")
        assert "/tmp/mark" in asked(other, "honest").results[0]
        assert not running.done()
        answer = running.result()
    lied(member, gateway, answer)
    assert len(gateway.events("session.opened", other.subject)) == 1
