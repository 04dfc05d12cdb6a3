"""Members whose keys have limits, and what their keys used."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli import issuing
from gateway.cli.issuing import NewKey
from gateway.store.engine import close_store, connect
from gateway.store.keylimits import KeyLimits
from tests.support.gateway import Gateway
from tests.support.messages_api import Caller
from tests.support.places import Member, owned
from tests.support.processes import until

__all__ = ["LimitedMember", "join_limited", "limited_key", "revoke", "usage_of"]

Json = dict[str, Any]

USAGE_SECONDS = 15.0
"""Usage is written every two seconds."""


@dataclass(frozen=True)
class LimitedMember(Member):
    """A member that knows the id of its key."""

    key_id: str


def limited_key(gateway: Gateway, subject: str, workspace: Path, **limits: Any) -> tuple[str, str]:
    """Id and secret of a fresh key with these limits."""
    engine = connect(gateway.settings.store_url)
    try:
        wanted = NewKey("test", subject, str(workspace), limits=KeyLimits(**limits))
        record, secret = issuing.issue(gateway.settings, engine, wanted, "test")
        return record.id, secret
    finally:
        close_store(engine)


def revoke(gateway: Gateway, key_id: str) -> None:
    """End a key."""
    engine = connect(gateway.settings.store_url)
    try:
        assert issuing.revoke(gateway.settings, engine, key_id, "test") is not None
    finally:
        close_store(engine)


def join_limited(gateway: Gateway, session: str | None = None, **limits: Any) -> LimitedMember:
    """A new subject with an empty workspace and one key."""
    workspace = owned(Path(tempfile.mkdtemp(dir=gateway.workspace_root, prefix="member-")))
    key_id, secret = limited_key(gateway, workspace.name, workspace, **limits)
    return LimitedMember(workspace.name, workspace, Caller(gateway.url, secret, session), key_id)


def usage_of(member: Member, by: str = "key", **expected: Any) -> list[Json]:
    """The rows of the member's usage, at least one, once their sum has the expected numbers."""
    told: list[Json] = []

    def look() -> list[Json] | None:
        told.append(member.caller.request("GET", f"/api/usage?group_by={by}").json())
        met = all(told[-1]["total"][name] == value for name, value in expected.items())
        return told[-1]["data"] or None if met else None

    try:
        return until(look, f"usage {expected}", USAGE_SECONDS)
    except AssertionError as late:
        raise AssertionError(f"{late}; it is {told[-1]['total']}") from None
