"""A container that is taken away from outside while a call runs in it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from tests.support import engine
from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join
from tests.support.processes import until
from tests.support.scenes import bash, calls, says, scene

pytestmark = pytest.mark.engine

SCENES = [
    scene("hold", calls(bash("echo held >> held; sleep 310")), says("I was told: ${last_tool_result}")),
    scene("look", calls(bash("cat held; ls /tmp/mark; touch /tmp/mark; true")), says("${last_tool_result}")),
]


def asked(member: Member, prompt: str) -> Answer:
    return member.caller.ask(asking(prompt, BASH))


@pytest.mark.parametrize("how", ["kill", "remove"])
def test_a_call_whose_container_goes_is_explained_and_the_next_has_a_fresh_one(
    how: str, gateway: Gateway, member: Member
) -> None:
    other = join(gateway)
    asked(other, "look")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asked, member, "hold")
        until(lambda: (member.workspace / "held").exists(), "the call to run")
        [container] = gateway.containers(member.subject)
        with contextlib.closing(docker.APIClient(version="auto", timeout=30)) as client:
            client.kill(container) if how == "kill" else client.remove_container(container, force=True)
        answer = running.result()

    assert answer.message["stop_reason"] == "end_turn"
    [told] = answer.results
    assert told.startswith("The sandbox of this session was lost while the call ran")
    assert answer.texts == [f"I was told: {told}"]
    ended = gateway.event("tool.result", member.subject)
    [intent] = gateway.events("tool.intent", member.subject)
    assert (ended["outcome"], ended["intent"]) == ("lost", intent["seq"])

    again = asked(member, "look").results[0]
    assert again.startswith("held\n") and "No such file" in again, "a fresh sandbox on the same workspace"
    first, second = gateway.events("session.opened", member.subject)
    assert gateway.event("session.close", member.subject, reason="broken")["session"] == first["session"]
    assert engine.remaining([first]) == []
    assert len(engine.remaining([second])) == 1

    assert "/tmp/mark" in asked(other, "look").results[0], "the other session kept its sandbox"
    gateway.close_sessions(other.caller.key)


def test_a_container_that_went_while_nobody_looked_is_replaced_unseen(gateway: Gateway, member: Member) -> None:
    asked(member, "look")
    [container] = gateway.containers(member.subject)
    with contextlib.closing(docker.APIClient(version="auto", timeout=30)) as client:
        client.remove_container(container, force=True)
    gateway.event("session.close", member.subject, reason="broken")
    assert "No such file" in asked(member, "look").results[0]
    assert len(gateway.containers(member.subject)) == 2
