"""A gateway as its own process, with its store, its keys and its audit log at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.audit.query import Filter, find
from gateway.cli.issuing import NewKey, issue
from gateway.settings import Settings
from gateway.store.engine import close_store, connect, open_existing
from tests.support.engine import remaining
from tests.support.processes import ChildProcess, plain_environment, until

Json = dict[str, Any]


class Gateway:
    """A running `bulkhead serve` on a free loopback port."""

    def __init__(self, folder: Path, upstream_url: str, workspace_root: Path, **variables: str) -> None:
        self.data_dir = folder / "data"
        self.workspace_root = workspace_root
        env = plain_environment(
            folder,
            BULKHEAD_DATA_DIR=str(self.data_dir),
            WORKSPACE_ROOT=str(workspace_root),
            ANTHROPIC_ENDPOINT=upstream_url,
            ANTHROPIC_API_KEY="upstream-secret",
            **{"PORT": "0", **variables},
        )
        self.settings = Settings(data_dir=self.data_dir, workspace_root=workspace_root, port=0)
        self.program = str(Path(sys.executable).with_name("bulkhead"))
        self.process = ChildProcess([self.program, "serve"], folder=folder, env=env)
        self.url = self.process.line_after("listening on ")

    @property
    def first_key(self) -> str:
        """Shown at the first start on a data directory only."""
        return self.process.line_after("First API key (shown this once): ")

    def broker(self) -> int:
        """The process id of the broker that this gateway started."""
        return until(lambda: next(iter(_children(self.process.pid, b"gateway.broker")), None), "the gateway's broker")

    def key(self, subject: str, workspace: Path | None = None) -> str:
        """A fresh key for a subject."""
        engine = connect(self.settings.store_url)
        try:
            wanted = NewKey("test", subject, str(workspace) if workspace else None)
            return issue(self.settings, engine, wanted, "test")[1]
        finally:
            close_store(engine)

    def events(self, kind: str, subject: str | None = None, **body: Any) -> list[Json]:
        """Audit events of a kind, oldest first: the body, with `seq`, `session` and `intent` beside it."""
        engine = open_existing(self.settings.store_url)
        try:
            rows = find(engine, Filter(kind=kind, principal=subject, limit=1000))
        finally:
            close_store(engine)
        found = [
            {**msgspec.json.decode(row.body), "seq": row.seq, "session": row.session, "intent": row.intent}
            for row in rows
        ]
        return [event for event in found if all(event.get(name) == value for name, value in body.items())]

    def event(self, kind: str, subject: str | None = None, **body: Any) -> Json:
        """The newest such event, once there is one."""
        return until(lambda: self.events(kind, subject, **body), f"an audit event {kind} {body}")[-1]

    def containers(self, subject: str | None = None) -> list[str]:
        """The engine's names of the containers opened (for a subject), in order, gone ones too."""
        opened = self.events("session.opened", subject)
        return [f"bulkhead-{event['session']}-{event['container']}" for event in opened]

    def close_sessions(self, key: str) -> None:
        """Close every open session of the key's subject."""
        with httpx.Client(base_url=self.url, headers={"x-api-key": key}, trust_env=False, timeout=60) as client:
            for session in client.get("/api/sessions").json()["data"]:
                if session["closed_at"] is None:
                    client.delete(f"/api/sessions/{session['id']}")

    def stop(self) -> int:
        """End it; nothing of it may remain in the engine."""
        status = self.process.stop()
        left = remaining(self.events("session.open"))
        assert not left, f"containers were left behind: {left}"
        return status


def _children(parent: int, word: bytes) -> list[int]:
    """Processes that a process started and that have a word in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            about, command = (place / "stat").read_bytes(), (place / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(about.rpartition(b")")[2].split()[1]) == parent and word in command:
            found.append(int(place.name))
    return found
