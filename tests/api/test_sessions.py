"""Sandbox sessions: one for each name of each subject, listed and closed by their owner only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, Caller, asking
from tests.support.places import Member, join
from tests.support.scenes import bash, calls, says, scene

SCENES = [
    scene("leave a mark", calls(bash("echo $PPID-mark >> /tmp/marks; cat /tmp/marks")), says("left")),
    scene("hold on", calls(bash("echo holding > held; sleep 305")), says("${last_tool_result}")),
]


def marks(caller: Caller, **headers: str) -> int:
    """Leave a mark in the sandbox; how many are there."""
    answer = caller.ask(asking("leave a mark", BASH), **headers)
    return answer.results[0].count("mark")


def named(member: Member, session: str | None) -> Caller:
    return replace(member.caller, session=session)


def test_a_session_is_found_again_by_its_name_however_it_is_given(member: Member) -> None:
    assert marks(named(member, "a")) == 1
    assert marks(named(member, "a")) == 2
    assert marks(named(member, "b")) == 1
    nameless = named(member, None)
    assert marks(nameless, x_claude_code_session_id="a") == 3
    body = asking("leave a mark", BASH, metadata={"user_id": '{"session_id": "b"}'})
    assert nameless.ask(body).results[0].count("mark") == 2
    assert nameless.ask(asking("leave a mark", BASH, container="a")).results[0].count("mark") == 4


def test_a_client_without_a_session_is_told_the_one_it_got(member: Member) -> None:
    nameless = named(member, None)
    first = nameless.ask(asking("leave a mark", BASH))
    second = nameless.ask(asking("leave a mark", BASH))
    given = first.headers["x-bulkhead-session"]
    assert given.startswith("anon-") and given != second.headers["x-bulkhead-session"]
    assert second.results[0].count("mark") == 1
    assert marks(named(member, given)) == 2


@pytest.mark.parametrize("name", ["../up", "with space", "x" * 129, "é".encode().decode("latin-1")])
def test_a_session_name_that_is_none_is_refused(name: str, member: Member) -> None:
    answer = member.caller.ask(asking("leave a mark", metadata={"user_id": f'{{"session_id": "{name}"}}'}))
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["message"].startswith("The session id")


def test_two_subjects_with_one_session_name_share_no_sandbox_and_no_turn(gateway: Gateway, member: Member) -> None:
    other = join(gateway)
    assert marks(member.caller) == 1
    assert marks(other.caller) == 1
    ours, theirs = (gateway.event("session.opened", one.subject)["session"] for one in (member, other))
    assert ours != theirs
    assert len(gateway.events("tool.intent", member.subject)) == len(gateway.events("tool.intent", other.subject)) == 1


def test_sessions_are_listed_and_closed_by_their_owner_only(gateway: Gateway, member: Member) -> None:
    marks(member.caller)
    other = join(gateway).caller
    [listed] = member.caller.request("GET", "/api/sessions").json()["data"]
    path = f"/api/sessions/{listed['id']}"
    assert (listed["client_session"], listed["closed_at"]) == ("one", None)
    assert listed["workspace"]["source"] == str(member.workspace)
    assert member.caller.request("GET", path).json() == listed

    assert other.request("GET", "/api/sessions").json()["data"] == []
    for method in ("GET", "DELETE"):
        refused = other.request(method, path)
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")
        assert refused.json()["error"] == other.request(method, "/api/sessions/s-0").json()["error"] | {
            "message": f"session: {listed['id']}"
        }

    assert member.caller.request("DELETE", path).json() == {"id": listed["id"], "closed": True}
    closed = member.caller.request("GET", path).json()
    assert closed["closed_at"] is not None and closed["close_reason"] == "closed by its owner"
    assert gateway.event("session.close", member.subject)["session"] == listed["id"]
    again = member.caller.request("DELETE", path)
    assert (again.status_code, again.json()["error"]["type"]) == (409, "conflict_error")
    assert marks(member.caller) == 1, "a closed session's sandbox is gone"
