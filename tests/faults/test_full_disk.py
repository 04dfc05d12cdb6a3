"""The audit log cannot be written: nothing runs, the caller is told, and work goes on when there is room again."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, started, verify_audit, workspaces
from tests.support.processes import until
from tests.support.scenes import bash, calls, says, scene

SCENES = [
    scene("leave a trace", calls(bash("echo ran >> trace; cat trace")), says("${last_tool_result}")),
    scene(
        "hold",
        calls(bash("echo held >> held; until [ -e go ]; do sleep 0.05; done")),
        calls(bash("touch second")),
        says("done"),
    ),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The gateway's data directory, as a file system of a few megabytes."""
    place = tmp_path / "data"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def gateway(small_disk: Path, tmp_path: Path, upstream_url: str) -> Iterator[Gateway]:
    variables = {"BULKHEAD_SANDBOX_DRIVER": "bubblewrap"}
    with workspaces() as root, started(tmp_path, upstream_url, root, **variables) as running:
        yield running
        assert running.stop() == 0, running.process.stderr
        verify_audit(running)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def asked(member: Member, prompt: str = "leave a trace") -> Answer:
    return member.caller.ask(asking(prompt, BASH))


def health(gateway: Gateway) -> int:
    return httpx.get(f"{gateway.url}/health/ready", trust_env=False).status_code


def test_nothing_runs_while_the_log_has_no_room(gateway: Gateway, small_disk: Path) -> None:
    member, late = join(gateway), join(gateway)
    assert asked(member).results == ["ran"]
    ballast = fill(small_disk)
    refused = asked(member)
    assert (refused.status, refused.error["type"]) == (500, "api_error")
    assert "audit log cannot be written" in refused.error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert asked(late).status == 500
    assert (member.workspace / "trace").read_text() == "ran\n"
    assert list(late.workspace.iterdir()) == []
    assert health(gateway) == 503

    ballast.unlink()
    until(lambda: health(gateway) == 200, "the log's recovery", 30)
    assert asked(member).results == ["ran\nran"]
    assert asked(late).results == ["ran"]
    assert gateway.event("audit.recovered")["lost"] == 0


def test_a_turn_that_loses_the_log_on_its_way_stops_before_the_next_effect(gateway: Gateway, small_disk: Path) -> None:
    member = join(gateway)
    with member.caller.live(asking("hold", BASH)) as answer:
        until(lambda: (member.workspace / "held").exists(), "the first call")
        ballast = fill(small_disk)
        (member.workspace / "go").touch()
        broken = answer.finish()
    assert broken.events[-1][0] == "error"
    assert "audit log cannot be written" in broken.error["message"]
    assert not (member.workspace / "second").exists()

    ballast.unlink()
    until(lambda: health(gateway) == 200, "the log's recovery", 30)
    assert gateway.event("tool.result", member.subject)["outcome"] == "ok", "what had run is told afterwards"
    resumed = asked(member, "hold")
    assert resumed.texts == ["done"]
    assert (member.workspace / "held").read_text() == "held\n"
    assert (member.workspace / "second").exists()
