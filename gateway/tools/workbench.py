"""What the tools of one session remember between calls: directories, files read, background jobs."""

from __future__ import annotations

import posixpath
import secrets
import string
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from gateway.sandbox.session import Session
from gateway.sandbox.toolhost import Process, Toolhost, Version

_ID_CHARACTERS = string.digits + string.ascii_lowercase


@dataclass(slots=True)
class BackgroundJob:
    """A program that runs on after its call returned; its output is a file in the sandbox."""

    id: str
    command: str
    title: str
    process: Process
    output_path: str
    stopped: bool = False
    reported: bool = False
    """Whether the model has been told that it ended."""

    def ending(self) -> str:
        """How it ended, for a notice: `exit code 7`, `signal 9`."""
        exit_ = self.process.exit
        if exit_ is None:
            return "nothing yet"
        return f"exit code {exit_.code}" if exit_.code is not None else f"signal {exit_.signal}"


@dataclass(eq=False)
class Workbench:
    """One per session and agent: subagents share the sandbox, not the shell's directory."""

    session: Session
    start_directory: str
    output_limit: int
    directory: str = ""
    seen: dict[str, Version] = field(default_factory=dict)
    """Files as the model last saw them, by path."""
    jobs: dict[str, BackgroundJob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory = self.directory or self.start_directory

    def next_id(self, kind: str) -> str:
        """An id as the client makes them: a letter and eight of [0-9a-z]."""
        return kind + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(8))

    @property
    def toolhost(self) -> Toolhost:
        return self.session.toolhost

    @property
    def root(self) -> str:
        """The workspace directory inside the sandbox."""
        return self.session.sandbox.workspace

    def contains(self, path: str) -> bool:
        """Whether a canonical absolute path lies in the workspace."""
        return path == self.root or path.startswith(self.root.rstrip("/") + "/")


class Workbenches:
    """Finds the workbench of a session's agent; forgets it with the session."""

    def __init__(self, output_limit: int) -> None:
        self._output_limit = output_limit
        self._of: WeakKeyDictionary[Session, dict[str, Workbench]] = WeakKeyDictionary()

    def of(self, session: Session, agent: str, stated_directory: str | None) -> Workbench:
        """`stated_directory` is where the client says it works; outside the workspace it is ignored."""
        agents = self._of.setdefault(session, {})
        bench = agents.get(agent)
        if bench is None:
            bench = Workbench(session, session.sandbox.workspace, self._output_limit)
            if stated_directory and bench.contains(posixpath.normpath(stated_directory)):
                bench.start_directory = bench.directory = posixpath.normpath(stated_directory)
            for other in agents.values():
                bench.jobs = other.jobs
            agents[agent] = bench
        return bench
