"""The gateway or its broker is killed: nothing stays behind, and who is left says clearly what is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support import engine
from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, started, verify_audit, workspaces
from tests.support.processes import alive, free_port, until
from tests.support.scenes import bash, calls, says, scene

SCENES = [
    scene("hold", calls(bash("echo held >> held; until [ -e go ]; do sleep 0.05; done; cat held")), says("done")),
    scene("look", calls(bash("echo alive")), says("${last_tool_result}")),
]


def asked(member: Member, prompt: str) -> Answer:
    return member.caller.ask(asking(prompt, BASH))


def held(member: Member) -> None:
    until(lambda: (member.workspace / "held").exists(), "the call to run")


@pytest.mark.engine
def test_a_killed_broker_takes_no_running_call_with_it_and_new_sandboxes_are_refused_clearly(
    tmp_path: Path, upstream_url: str
) -> None:
    with workspaces() as root, started(tmp_path, upstream_url, root, BULKHEAD_SANDBOX_DRIVER="docker") as gateway:
        member, late = join(gateway), join(gateway)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(asked, member, "hold")
            held(member)
            os.kill(gateway.broker(), signal.SIGKILL)
            refused = asked(late, "look")
            (member.workspace / "go").touch()
            assert running.result().results == ["held"]
        assert (refused.status, refused.error["type"]) == (500, "api_error")
        assert refused.error["message"].startswith("The sandbox is not available: the broker at ")
        assert refused.headers["x-should-retry"] == "false"
        assert gateway.event("session.failed", late.subject)["reason"] == "broker"
        assert gateway.events("tool.intent", late.subject) == []
        assert asked(member, "look").results == ["alive"], "an open sandbox goes on"
        assert httpx.get(f"{gateway.url}/health/live", trust_env=False).status_code == 200

        opened = gateway.events("session.opened")
        gateway.process.signal(signal.SIGTERM)
        gateway.process.wait()
        with started(tmp_path, upstream_url, root, BULKHEAD_SANDBOX_DRIVER="docker") as again:
            assert engine.remaining(opened) == [], "the next start removes what could not be removed"
            assert again.stop() == 0
        verify_audit(again)


def interrupted(gateway: Gateway, broker: int) -> None:
    """What a terminal's Ctrl-C or a service manager's stop does: every process of the group gets the signal."""
    os.kill(broker, signal.SIGTERM)
    os.kill(broker, signal.SIGINT)
    gateway.process.signal(signal.SIGINT)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(lambda gateway, broker: gateway.process.signal(signal.SIGKILL), -signal.SIGKILL, id="killed"),
        pytest.param(interrupted, 0, id="the whole group interrupted"),
    ],
)
def test_a_gateway_that_ends_while_a_call_runs_leaves_no_container_and_no_broker(
    end: Callable[[Gateway, int], None], status: int, tmp_path: Path, upstream_url: str
) -> None:
    with workspaces() as root, started(tmp_path, upstream_url, root, BULKHEAD_SANDBOX_DRIVER="docker") as gateway:
        member = join(gateway)
        broker = gateway.broker()
        with member.caller.live(asking("hold", BASH)):
            held(member)
        # The client has left, and its turn goes on for the grace: nobody's answer is waited for.
        end(gateway, broker)
        assert gateway.process.wait() == status
        until(lambda: engine.remaining(gateway.events("session.open")) == [], "the end of the container", 30)
        until(lambda: not alive(broker), "the end of the broker", 30)
        verify_audit(gateway)


def test_a_killed_gateway_without_an_engine_leaves_no_process(tmp_path: Path, upstream_url: str) -> None:
    with workspaces() as root, started(tmp_path, upstream_url, root, BULKHEAD_SANDBOX_DRIVER="bubblewrap") as gateway:
        member = join(gateway)
        with member.caller.live(asking("hold", BASH)):
            held(member)
            assert inside(member.workspace)
            gateway.process.signal(signal.SIGKILL)
            gateway.process.wait()
        until(lambda: not inside(member.workspace), "the end of everything in the sandbox", 30)
        verify_audit(gateway)


def inside(workspace: Path) -> list[int]:
    """Processes that work in a directory."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink() == workspace:
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_next_start_tells_what_a_kill_left_unfinished(tmp_path: Path, upstream_url: str) -> None:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "bubblewrap", "PORT": str(free_port())}
    with workspaces() as root:
        with started(tmp_path, upstream_url, root, **variables) as killed:
            member = join(killed)
            with member.caller.live(asking("hold", BASH)):
                held(member)
                killed.process.signal(signal.SIGKILL)
                killed.process.wait()
        assert len(killed.events("tool.intent")) == 1
        assert killed.events("tool.result") == [], "what the call did is not known, and nobody claims to"
        with started(tmp_path, upstream_url, root, **variables) as after:
            [session] = member.caller.request("GET", "/api/sessions").json()["data"]
            assert session["close_reason"] == "gateway restarted"
            assert asked(member, "look").results == ["alive"]
            assert after.stop() == 0
        assert len(after.events("gateway.start")) == 2
        assert len(after.events("gateway.stop")) == 1
        verify_audit(after)
