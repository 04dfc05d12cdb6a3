"""The engine goes away: nothing hangs, the caller is told, and work goes on when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import engine
from tests.support.engine_socket import EngineSocket, engine_socket
from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.scenes import bash, calls, says, scene

pytestmark = pytest.mark.engine

SCENES = [
    scene("hold", calls(bash("echo held >> held; until [ -e go ]; do sleep 0.05; done; cat held")), says("done")),
    scene("hold for ever", calls(bash("echo held >> held; sleep 312")), says("told: ${last_tool_result}")),
    scene("look", calls(bash("echo alive")), says("${last_tool_result}")),
]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[EngineSocket]:
    with engine_socket(tmp_path / "engine.sock") as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, upstream_url: str, line: EngineSocket) -> Iterator[Gateway]:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "docker", "DOCKER_HOST": f"unix://{line.path}"}
    with serving(tmp_path / "gateway", upstream_url, **variables) as running:
        yield running


def asked(member: Member, prompt: str) -> Answer:
    return member.caller.ask(asking(prompt, BASH))


def held(member: Member) -> None:
    until(lambda: (member.workspace / "held").exists(), "the call to run")


def test_a_call_outlives_a_broken_connection_to_the_engine(gateway: Gateway, line: EngineSocket) -> None:
    member = join(gateway)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asked, member, "hold")
        held(member)
        line.drop()
        (member.workspace / "go").touch()
        answer = running.result()
    assert answer.results == ["held"], "once, and with its whole output"
    assert len(gateway.events("session.opened", member.subject)) == 1


def test_an_engine_that_stops_ends_the_call_with_an_explanation_and_is_used_again_when_it_is_back(
    gateway: Gateway, line: EngineSocket
) -> None:
    member, late = join(gateway), join(gateway)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asked, member, "hold for ever")
        held(member)
        line.cut()
        answer = running.result()
    [told] = answer.results
    assert told.startswith("The sandbox of this session was lost while the call ran")
    assert answer.texts == [f"told: {told}"]
    assert gateway.event("tool.result", member.subject)["outcome"] == "lost"

    refused = asked(late, "look")
    assert (refused.status, refused.error["type"]) == (500, "api_error")
    assert "the engine cannot be reached" in refused.error["message"]
    assert gateway.event("session.failed", late.subject)["reason"] == "engine"
    assert gateway.events("tool.intent", late.subject) == []

    line.connect()
    assert asked(member, "look").results == asked(late, "look").results == ["alive"]
    lost = gateway.events("session.opened", member.subject)[0]
    until(lambda: engine.remaining([lost]) == [], "the end of the container that was out of reach", 30)
