"""A fake server of any dialect as the process it is, and what it recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.processes import ChildProcess, plain_environment

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]


class FakeUpstream:
    """One scenario in one dialect on one loopback port.."""

    def __init__(self, dialect: str, scenario: Json, folder: Path, *options: str, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dialect = dialect
        (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario, allow_unicode=True), encoding="utf-8")
        self._record = folder / "record.jsonl"
        command = [sys.executable, "-m", "tests.upstreams", "--dialect", dialect, "--port", str(port)]
        command += ["--scenario", str(folder / "scenario.yaml"), "--record", str(self._record), *options]
        env = plain_environment(folder, PYTHONPATH=str(ROOT))
        self._process = ChildProcess(command, folder=folder, env=env)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return self._process.line_after("listening on ")

    def lines(self, kind: str) -> list[Json]:
        """Recorded entries of one kind (request, ended, violation), in order."""
        if not self._record.exists():
            return []
        complete = self._record.read_text(encoding="utf-8").splitlines(keepends=True)
        entries = [json.loads(line) for line in complete if line.endswith("\n")]
        return [entry for entry in entries if entry["kind"] == kind]

    def asked(self, conversation: str) -> list[Json]:
        """Bodies of the model calls of one conversation, in order of arrival."""
        return [entry["body"] for entry in self.lines("request") if entry.get("conversation") == conversation]

    def refused(self) -> list[str]:
        """What it refused, violations included; a credential that is no longer good is no fault of a request."""
        refusals = [entry for entry in self.lines("request") if entry.get("status", 401) != 401]
        found = [str(entry["refused"]) for entry in refusals]
        return found + [str(entry["complaint"]) for entry in self.lines("violation")]

    def revoke_tokens(self) -> None:
        """No token that it issued so far is good any more."""
        httpx.post(f"{self.url}/scripted/revoke", trust_env=False).raise_for_status()

    def tokens_issued(self) -> int:
        return sum(entry.get("token", False) for entry in self.lines("request"))

    def stop(self) -> int:
        """End it; 3 when there was a violation."""
        return self._process.stop()
