"""The real Claude Code, installed once per machine and run with nothing of the host's but its search path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import agent_sdk
from tests.support.installs import npm_install, once
from tests.support.processes import ChildProcess, plain_environment

VERSION = "2.1.197"
"""The release that most tests drive."""

NEWER = agent_sdk.CLI_VERSION
"""The release that the agent SDK brings along."""

PACKAGE = "@anthropic-ai/claude-code"
RUN_SECONDS = 90.0

LOOPBACK_ONLY = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
}
"""Environment in which whatever tries to leave the machine meets a port that nobody listens on."""

Json = dict[str, Any]


def installed(version: str = VERSION) -> Path:
    """The program of one release. Installs it into the user's cache the first time, which takes a while."""
    if version == NEWER:
        return agent_sdk.bundled_cli()
    program = "node_modules/.bin/claude"
    return once(f"claude-code-{version}", program, npm_install(f"{PACKAGE}@{version}")) / program


@dataclass(frozen=True)
class Finished:
    """One run of the CLI that ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def messages(self) -> list[Json]:
        """The lines of `--output-format stream-json`."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def blocks(self) -> list[Json]:
        """Content blocks of the main conversation's assistant, as the CLI reports them."""
        mains = [m for m in self.messages if m["type"] == "assistant" and not m.get("parent_tool_use_id")]
        return [block for message in mains for block in message["message"]["content"]]

    @property
    def result(self) -> Json:
        """The closing line of stream-json."""
        return next(message for message in self.messages if message["type"] == "result")


STREAM_JSON = ("--output-format", "stream-json", "--verbose")


class ClaudeCode:
    """The CLI in one project directory, pointed at one gateway."""

    def __init__(self, home: Path, project: Path, url: str, key: str, version: str = VERSION) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home = home
        self._project = project
        self._program = str(installed(version))
        self._runs = 0
        self._env = plain_environment(
            home,
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_AUTH_TOKEN=key,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            **LOOPBACK_ONLY,
        )

    def transcripts(self) -> list[Path]:
        """The files in which it keeps its conversations."""
        return sorted((self._home / ".claude" / "projects").glob("*/*.jsonl"))

    def start(self, prompt: str, *arguments: str) -> ChildProcess:
        """Begin a run in print mode."""
        self._runs += 1
        folder = self._home / f"run-{self._runs}"
        return ChildProcess([self._program, "-p", prompt, *arguments], folder=folder, env=self._env, cwd=self._project)

    def run(self, prompt: str, *arguments: str) -> Finished:
        """A whole run in print mode."""
        process = self.start(prompt, *arguments)
        status = process.wait(RUN_SECONDS)
        return Finished(status, process.stdout, process.stderr)
