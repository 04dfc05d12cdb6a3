"""The registry of sessions: opened once, bounded, closed when idle, broken or told to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.images.recipes import source_tree
from gateway.sandbox.bubblewrap import BubblewrapDriver
from gateway.sandbox.driver import Workspace
from gateway.sandbox.errors import SandboxError, SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.session import Session, SessionKey, SessionObserver
from gateway.sandbox.sessions import Sessions

ALICE = SessionKey("alice", "one")
BOB = SessionKey("bob", "one")
Open = Callable[..., Sessions]


class Diary(SessionObserver):
    """Remembers what it was told; refuses to open while `refusal` is set."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.refusal: Exception | None = None

    async def opening(self, session_id: str, key: SessionKey, workspace: Workspace) -> int:
        if self.refusal is not None:
            raise self.refusal
        self.told.append(("opening", key.subject))
        return 7

    async def opened(self, session: Session, intent: int) -> None:
        assert intent == 7
        self.told.append(("opened", session.key.subject))

    async def open_failed(self, session_id: str, key: SessionKey, intent: int, error: SandboxError) -> None:
        self.told.append(("failed", error.reason))

    async def closed(self, session: Session, reason: str) -> None:
        self.told.append(("closed", reason))


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    source = tmp_path / "ws"
    source.mkdir()
    if os.getuid() == 0:
        os.chown(source, 10001, 10001)
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents:
            if str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    return Workspace("bind", str(source), str(source))


@pytest.fixture
async def registry(tmp_path: Path, diary: Diary) -> AsyncIterator[Open]:
    made: list[Sessions] = []

    def make(idle_seconds: float = 600, max_sessions: int = 8) -> Sessions:
        driver = BubblewrapDriver([tmp_path], source_tree().images / "toolhost")
        made.append(Sessions(driver, diary, idle_seconds=idle_seconds, max_sessions=max_sessions))
        return made[-1]

    yield make
    for sessions in made:
        await sessions.aclose()


async def test_callers_of_one_key_share_one_sandbox_and_others_get_their_own(
    registry: Open, place: Workspace, diary: Diary
) -> None:
    sessions = registry()
    first, second, other = await asyncio.gather(
        sessions.get(ALICE, place), sessions.get(ALICE, place), sessions.get(BOB, place)
    )
    assert first is second
    assert other.sandbox.id != first.sandbox.id
    assert [kind for kind, _ in diary.told].count("opened") == 2
    assert sessions.peek(ALICE) is first
    assert sessions.find(other.id) is other


async def test_nothing_is_opened_without_a_durable_intent(registry: Open, place: Workspace, diary: Diary) -> None:
    sessions = registry()
    diary.refusal = RuntimeError("the log is full")
    with pytest.raises(RuntimeError, match="log is full"):
        await sessions.get(ALICE, place)
    assert sessions.all() == []
    diary.refusal = None
    assert await sessions.get(ALICE, place)


async def test_an_open_that_fails_is_told_and_may_be_tried_again(
    registry: Open, place: Workspace, diary: Diary
) -> None:
    sessions = registry()
    with pytest.raises(WorkspaceRefused):
        await sessions.get(ALICE, Workspace("bind", "/etc", "/etc"))
    assert diary.told[-1][0] == "failed"
    assert await sessions.get(ALICE, place)


async def test_an_idle_session_makes_room_and_a_used_one_does_not(
    registry: Open, place: Workspace, diary: Diary
) -> None:
    sessions = registry(max_sessions=1)
    alice = await sessions.get(ALICE, place)
    with alice.in_use(), pytest.raises(SandboxUnavailable) as refused:
        await sessions.get(BOB, place)
    assert refused.value.reason == "busy"
    assert await sessions.get(BOB, place)
    assert ("closed", "made room") in diary.told
    assert not await alice.sandbox.alive()


async def test_an_idle_session_is_closed_and_a_used_one_is_not(registry: Open, place: Workspace, diary: Diary) -> None:
    sessions = registry(idle_seconds=0.2)
    used = await sessions.get(ALICE, place)
    with used.in_use():
        sweeping = asyncio.create_task(sessions.run())
        idle = await sessions.get(BOB, place)
        async with asyncio.timeout(20):
            while sessions.peek(BOB) is not None or ("closed", "idle") not in diary.told:
                await asyncio.sleep(0.01)
        assert not await idle.sandbox.alive()
        assert sessions.peek(ALICE) is used
    await sessions.aclose()
    await asyncio.wait_for(sweeping, 20)


async def test_a_broken_session_is_replaced(registry: Open, place: Workspace, diary: Diary) -> None:
    sessions = registry()
    first = await sessions.get(ALICE, place)
    first.channel.break_off("it lied")
    second = await sessions.get(ALICE, place)
    assert second.id != first.id
    assert ("closed", "broken") in diary.told
    await second.toolhost.ping()


async def test_closing_ends_every_sandbox_and_opens_no_more(registry: Open, place: Workspace, diary: Diary) -> None:
    sessions = registry()
    opened = [await sessions.get(ALICE, place), await sessions.get(BOB, place)]
    await sessions.aclose()
    assert [await session.sandbox.alive() for session in opened] == [False, False]
    with pytest.raises(SandboxUnavailable):
        await sessions.get(ALICE, place)
