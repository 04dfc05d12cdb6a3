"""The upstream process itself dies in the middle of a turn."""

from __future__ import annotations

from pathlib import Path

from tests.support.messages_api import BASH, asking
from tests.support.places import join, serving
from tests.support.processes import free_port, until
from tests.support.scenes import bash, calls, says, scene
from tests.support.scripted import ScriptedUpstream

HOLD = scene(
    "hold", calls({"text": "I begin."}, bash("echo once >> count; until [ -e go ]; do sleep 0.05; done")), says("done")
)


def test_a_turn_that_lost_its_upstream_goes_on_with_the_next_one_without_running_twice(tmp_path: Path) -> None:
    port = free_port()
    scenario = {"conversations": [HOLD]}
    first = ScriptedUpstream(scenario, tmp_path / "first", port)
    with serving(tmp_path / "gateway", first.url, BULKHEAD_SANDBOX_DRIVER="bubblewrap") as gateway:
        member = join(gateway)
        with member.caller.live(asking("hold", BASH)) as answer:
            until(lambda: (member.workspace / "count").exists(), "the call to run")
            first.stop()
            (member.workspace / "go").touch()
            broken = answer.finish()
        assert broken.events[-1][0] == "error"
        assert broken.error["type"] == "api_error"
        second = ScriptedUpstream(scenario, tmp_path / "second", port)
        resumed = member.caller.ask(asking("hold", BASH))
        assert resumed.texts == ["I begin.", "done"]
        assert (member.workspace / "count").read_text() == "once\n"
        assert len(gateway.events("tool.intent", member.subject)) == 1
        assert len(second.asked("hold")) == 1
        second.stop()
