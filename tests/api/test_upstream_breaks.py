"""Streams that break: the client is told so, and never sees half an answer that looks like a whole one."""

from __future__ import annotations

import pytest

from tests.support.messages_api import BASH, Json, asking
from tests.support.places import Member
from tests.support.scenes import scene

BREAKS = {
    "closed": {"cut": "close", "after_events": 3},
    "reset": {"cut": "reset", "after_events": 3},
    "ended early": {"cut": "clean", "after_events": 3},
    "ended in an event": {"cut": "clean", "after_bytes": 400},
    "malformed event": {"malformed": True, "after_events": 3},
    "bad index": {"lie": "bad_index"},
    "two starts": {"lie": "two_starts"},
    "delta without block": {"lie": "delta_without_block"},
    "wrong delta": {"lie": "wrong_delta"},
    "interleaved": {"lie": "interleaved"},
    "no stop": {"lie": "no_stop"},
    "error event": {"error_event": {"type": "overloaded_error", "message": "busy"}, "after_events": 3},
}
SILENT = {"closed before": {"cut": "close", "after_events": 0}, "no start": {"lie": "no_start"}}

FORWARDED_WHOLE: dict[str, tuple[Json, int, str]] = {
    "closed": ({"cut": "close", "after_events": 0}, 502, "api_error"),
    "not json": ({"status": 200, "content_type": "application/json", "body": "These words {"}, 502, "api_error"),
    "no message": (
        {"status": 200, "content_type": "application/json", "body": '{"words": "These words"}'},
        500,
        "api_error",
    ),
    "an error": (
        {
            "status": 200,
            "content_type": "application/json",
            "body": '{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}',
        },
        529,
        "overloaded_error",
    ),
}

TWO_TEXTS = [{"text": "These words come in several pieces."}, {"text": "And these as well."}]

SCENES = [
    *(scene(f"break: {name}", {"blocks": TWO_TEXTS, "fault": fault}) for name, fault in {**BREAKS, **SILENT}.items()),
    *(scene(f"whole: {name}", {"blocks": TWO_TEXTS, "fault": fault[0]}) for name, fault in FORWARDED_WHOLE.items()),
]


@pytest.fixture(params=[(), (BASH,)], ids=["forwarded", "with tools"])
def tools(request: pytest.FixtureRequest) -> tuple[Json, ...]:
    """A request without the gateway's tools is only forwarded; one with them is a turn of the loop."""
    found: tuple[Json, ...] = request.param
    return found


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_ends_with_an_error_event(name: str, tools: tuple[Json, ...], member: Member) -> None:
    answer = member.caller.ask(asking(f"break: {name}", *tools, stream=True))
    names = [event for event, _ in answer.events]
    assert (answer.status, names[0], names[-1]) == (200, "message_start", "error")
    assert "message_stop" not in names
    assert answer.events[-1][1]["request_id"] == answer.headers["request-id"]
    assert answer.error["type"] == ("overloaded_error" if name == "error event" else "api_error")
    assert answer.error["message"]


@pytest.mark.parametrize("name", [*BREAKS, *SILENT])
def test_a_whole_answer_that_broke_on_its_way_is_an_error(name: str, member: Member) -> None:
    """The turn loop samples by stream; a forwarded request for a whole answer is one to the upstream too."""
    answer = member.caller.ask(asking(f"break: {name}", BASH))
    assert answer.status == (529 if name == "error event" else 502)
    assert answer.message["type"] == "error"
    assert "These words" not in answer.body.decode()


@pytest.mark.parametrize("name", SILENT)
def test_a_stream_that_breaks_before_its_start_is_a_plain_error(
    name: str, tools: tuple[Json, ...], member: Member
) -> None:
    answer = member.caller.ask(asking(f"break: {name}", *tools, stream=True))
    assert (answer.status, answer.headers["content-type"], answer.error["type"]) == (
        502,
        "application/json",
        "api_error",
    )


@pytest.mark.parametrize("name", FORWARDED_WHOLE)
def test_a_forwarded_whole_answer_that_broke_on_its_way_is_an_error(name: str, member: Member) -> None:
    answer = member.caller.ask(asking(f"whole: {name}"))
    assert (answer.status, answer.error["type"]) == (FORWARDED_WHOLE[name][1], FORWARDED_WHOLE[name][2])
    assert "These words" not in answer.body.decode()
