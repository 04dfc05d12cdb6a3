"""The real Claude Agent SDK and the CLI that it brings along, installed once per machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.installs import once, pip_install
from tests.support.processes import ChildProcess, plain_environment

VERSION = "0.2.187"
CLI_VERSION = "2.1.330"
RUN_SECONDS = 90.0

_CLI = "site/claude_agent_sdk/_bundled/claude"
_DRIVER = Path(__file__).with_name("drivers") / "agent_sdk_driver.py"

Json = dict[str, Any]


def _folder() -> Path:
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    return once(f"claude-agent-sdk-{VERSION}-py{tag}", _CLI, pip_install(f"claude-agent-sdk=={VERSION}"))


def bundled_cli() -> Path:
    """The CLI's program."""
    return _folder() / _CLI


def start(prompt: str, model: str, *, home: Path, project: Path, environment: dict[str, str]) -> ChildProcess:
    """Begin one query of the SDK in a process of its own; its lines are for `messages`."""
    home.mkdir(parents=True, exist_ok=True)
    env = plain_environment(home, PYTHONPATH=str(_folder() / "site"), **environment)
    command = [sys.executable, str(_DRIVER), prompt, model]
    return ChildProcess(command, folder=home / "run", env=env, cwd=project)


def messages(process: ChildProcess) -> list[Json]:
    """What the SDK yielded, once the query is over: `{kind, ...}` for each message."""
    status = process.wait(RUN_SECONDS)
    assert status == 0, process.stdout + process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]
