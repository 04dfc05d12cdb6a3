"""Which requests are the same turn, whose session they name, which directory."""

import json
from typing import Any

import pytest

from gateway.messages.blocks import Message
from gateway.messages.digest import SessionIdentity, session_identity, turn_digest, working_directory
from gateway.messages.request import MessagesRequest

MARK = {"type": "ephemeral"}
CALL = {"type": "tool_use", "id": "t1", "name": "Edit", "input": {"path": "a"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "done"}


def digest(*messages: dict[str, Any]) -> str:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "go"}, *messages]}
    return turn_digest(MessagesRequest.parse(json.dumps(body).encode()).messages)


def one(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


SAME = [
    ({"role": "user", "content": "x"}, one("user", {"type": "text", "text": "x"})),
    (one("user", {"type": "text", "text": "x"}), one("user", {"text": "x", "type": "text", "cache_control": MARK})),
    (one("user", {"type": "text", "text": "x"}), one("user", {"type": "text", "text": "x", "citations": None})),
    (one("assistant", CALL), one("assistant", {**CALL, "input": {"path": "a", "replace_all": False}})),
    (one("user", RESULT), one("user", {**RESULT, "is_error": False, "cache_control": MARK})),
    (one("user", RESULT), one("user", {**RESULT, "content": [{"type": "text", "text": "done"}]})),
    (one("user", {**RESULT, "content": ""}), one("user", {**RESULT, "content": []})),
]
DIFFERENT = [
    ({"role": "user", "content": "x"}, {"role": "user", "content": "y"}),
    ({"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}),
    (one("assistant", CALL), one("assistant", {**CALL, "id": "t2"})),
    (one("user", RESULT), one("user", {**RESULT, "is_error": True})),
    (one("user", RESULT), one("user", {**RESULT, "content": "other"})),
    (one("user", {"type": "image", "source": {"data": "a"}}), one("user", {"type": "image", "source": {"data": "b"}})),
    ({"role": "user", "content": "ab"}, one("user", {"type": "text", "text": "a"}, {"type": "text", "text": "b"})),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_the_ways_a_client_repeats_a_turn_have_one_digest(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert digest(left) == digest(right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_turns_have_different_digests(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert digest(left) != digest(right)


def test_a_longer_conversation_is_another_turn() -> None:
    assert digest() != digest({"role": "assistant", "content": "a"})
    assert len(digest()) == 64


IDENTITIES = [
    ('{"device_id":"d","account_uuid":"","session_id":"s"}', SessionIdentity("s", "d")),
    ('{"session_id":""}', SessionIdentity()),
    ('{"session_id":7,"device_id":"d"}', SessionIdentity(None, "d")),
    ("user_abc", SessionIdentity()),
    ("{broken", SessionIdentity()),
    ('{"a":' * 5000, SessionIdentity()),
    ("", SessionIdentity()),
    (None, SessionIdentity()),
]


@pytest.mark.parametrize(("user_id", "identity"), IDENTITIES)
def test_the_session_is_read_from_the_metadata(user_id: str | None, identity: SessionIdentity) -> None:
    assert session_identity(user_id) == identity


PROMPTS = [
    ("# Environment\n - Primary working directory: /home/me/app\n - Is a git repository: true", "/home/me/app"),
    ("<env>\nWorking directory: /srv/with space/x  \nPlatform: linux\n</env>", "/srv/with space/x"),
    ("CWD: /tmp/bare\nDate: today", "/tmp/bare"),
    ("Additional working directories: /other\nWorking directory: `/quoted`", "/quoted"),
    ("Working directory: relative/path", None),
    ("talk about the Working directory: /not/here on a line", None),
    ("nothing", None),
]


@pytest.mark.parametrize(("system", "directory"), PROMPTS)
def test_the_clients_directory_is_read_from_its_prompt(system: str, directory: str | None) -> None:
    assert working_directory(system) == directory


def test_the_directory_may_stand_in_a_system_entry_or_in_the_first_user_message_only() -> None:
    entry = Message("system", "Working directory: /entry")
    first = Message("user", "Working directory: /first")
    assert working_directory("", [first, entry]) == "/entry"
    assert working_directory("", [first]) == "/first"
    assert working_directory("CWD: /top", [first, entry]) == "/top"
    assert working_directory("", [Message("user", "hi"), Message("assistant", "x"), first]) is None
