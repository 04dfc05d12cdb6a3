"""The real TypeScript SDK, installed once per machine and driven by a small program in Node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.installs import npm_install, once
from tests.support.processes import ChildProcess, plain_environment

VERSION = "1.12.0"
PACKAGE = "@anthropic-ai/sdk"
RUN_SECONDS = 90.0

_ENTRY = f"node_modules/{PACKAGE}/index.mjs"
_DRIVER = Path(__file__).with_name("drivers") / "typescript_sdk_driver.mjs"

Json = dict[str, Any]


def entry() -> Path:
    """The SDK's module. Installs it into the user's cache the first time."""
    return once(f"anthropic-sdk-typescript-{VERSION}", _ENTRY, npm_install(f"{PACKAGE}@{VERSION}")) / _ENTRY


def start(jobs: Sequence[Json], url: str, key: str, folder: Path) -> ChildProcess:
    """Begin a process that does the jobs one after the other; the driver says what a job is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(list(jobs)), encoding="utf-8")
    env = plain_environment(folder, SDK_ENTRY=str(entry()), SDK_BASE_URL=url, SDK_KEY=key)
    return ChildProcess(["node", str(_DRIVER), str(folder / "jobs.json")], folder=folder, env=env)


def outcomes(process: ChildProcess) -> list[Json]:
    """One outcome for each job, in order, once all are done."""
    status = process.wait(RUN_SECONDS)
    assert status == 0, process.stdout + process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def run(jobs: Sequence[Json], url: str, key: str, folder: Path) -> list[Json]:
    """Do the jobs."""
    return outcomes(start(jobs, url, key, folder))
