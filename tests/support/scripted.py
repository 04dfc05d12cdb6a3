"""The scripted upstream as the process it is, and what it recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ChildProcess, plain_environment

Json = dict[str, Any]


class ScriptedUpstream:
    """One scenario on one loopback port."""

    def __init__(self, scenario: Json, folder: Path, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario, allow_unicode=True), encoding="utf-8")
        self._record = folder / "record.jsonl"
        command = [sys.executable, "-m", "gateway.providers.scripted", "--scenario", str(folder / "scenario.yaml")]
        command += ["--port", str(port), "--record", str(self._record)]
        self._process = ChildProcess(command, folder=folder, env=plain_environment(folder))
        self.url = self._process.line_after("listening on ")

    def lines(self, kind: str) -> list[Json]:
        """Recorded entries of one kind, in order; see docs/scenarios.md."""
        if not self._record.exists():
            return []
        complete = self._record.read_text(encoding="utf-8").splitlines(keepends=True)
        entries = [json.loads(line) for line in complete if line.endswith("\n")]
        return [entry for entry in entries if entry["kind"] == kind]

    def asked(self, conversation: str = "main") -> list[Json]:
        """The `/v1/messages` bodies of one conversation, in order of arrival."""
        found = [entry for entry in self.lines("request") if entry.get("conversation") == conversation]
        return [entry["body"] for entry in found]

    def refused(self) -> list[str]:
        """What it complained about: broken expectations, and requests the real API would refuse."""
        complaints = [str(entry["complaint"]) for entry in self.lines("violation")]
        return complaints + [str(entry["refused"]) for entry in self.lines("request") if "refused" in entry]

    def stop(self) -> None:
        """End it."""
        self._process.stop()
