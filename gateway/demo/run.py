"""One run from an empty directory to the verdict: start, converse, verify, end everything, judge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from gateway.demo.canary import Canary
from gateway.demo.checks import Check, Facts, checks, diff_of
from gateway.demo.conversation import Answer, close_session, converse
from gateway.demo.failure import DemoFailed
from gateway.demo.leftovers import Leftovers, look
from gateway.demo.place import Place, give_to_sandbox, temporary_place
from gateway.demo.processes import Alive, Program, clean_environment, descendants, output_of, running
from gateway.demo.report import Report
from gateway.demo.sample import PROGRAM, make_repository
from gateway.demo.script import TASK, TOUCHED, WRITTEN, Script
from gateway.demo.trail import Trail, opening_facts, read_trail
from gateway.demo.transcript import Transcript
from gateway.settings import Settings


@dataclass(slots=True)
class Outcome:
    """What a run came to. `kept` is the directory that was to stay."""

    checks: list[Check] = field(default_factory=list)
    driver: str | None = None
    unenforced: list[str] = field(default_factory=list)
    diff: str = ""
    trail: Trail = field(default_factory=Trail)
    answer: Answer = field(default_factory=Answer)
    seconds: dict[str, float] = field(default_factory=dict)
    kept: str | None = None

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)


class Run:
    """One run. `console` gets everything for people; `settings` give driver, image and engine."""

    def __init__(self, settings: Settings, console: Console, *, keep: bool) -> None:
        self._settings = settings
        self._console = console
        self._report = Report(console)
        self._keep = keep
        self._outcome = Outcome()
        self._began = time.monotonic()
        self._canary = Canary()
        self._script = Script("", "", 0)
        self._deviations: list[str] = []
        self._processes: set[Alive] = set()
        self._host: dict[str, Any] = {}

    async def run(self) -> Outcome:
        """Run it to the verdict. Cancelling it ends everything it started and is a verdict too."""
        root: Path | None = None
        try:
            with temporary_place(keep=self._keep) as place:
                root = place.root
                self._settings = _own_settings(self._settings, place)
                try:
                    await self._play(place)
                finally:
                    self._look_at_host(place)
                self._show_records()
        except DemoFailed as failure:
            self._deviations.append(str(failure))
        except asyncio.CancelledError:
            self._deviations.append("The demo was interrupted.")
        self._judge(root)
        return self._outcome

    async def _play(self, place: Place) -> None:
        """Repository, canary, scripted model and gateway, and the session between them."""
        self._report.step("making a sample repository with three commits and a failing test …")
        make_repository(place.workspace)
        give_to_sandbox(place.workspace)
        environment = clean_environment(_variables(self._settings))
        async with self._canary.listening():
            self._script = Script(str(place.workspace), str(place.secret_file), self._canary.port)
            place.scenario.write_text(yaml.safe_dump(self._script.scenario()), encoding="utf-8")
            self._report.step("starting the scripted model …")
            arguments = ["--scenario", str(place.scenario), "--record", str(place.record)]
            module, log = "gateway.providers.scripted", place.log("upstream")
            async with running("scripted model", module, arguments, environment, log) as upstream:
                self._processes |= descendants(upstream.pid)
                await self._with_gateway(place, {**environment, "ANTHROPIC_ENDPOINT": upstream.url})
        if upstream.status:
            self._deviations += [f"The scripted model complained: {line}" for line in upstream.complaints()]

    async def _with_gateway(self, place: Place, environment: Mapping[str, str]) -> None:
        self._report.step("making an API key …")
        arguments = ["keys", "create", "demo", "--subject", "demo", "--json"]
        key = str(json.loads(await output_of("gateway.cli", arguments, environment))["secret"])
        self._report.step("starting the gateway …")
        started = time.monotonic()
        async with running("gateway", "gateway.cli", ["serve"], environment, place.log("gateway")) as gateway:
            self._took("gateway start", started)
            await self._announce(gateway)
            await self._session(gateway, key)
            started = time.monotonic()
        self._took("gateway stop", started)
        if gateway.status != 0:
            self._deviations.append(f"The gateway ended with code {gateway.status}.")

    async def _announce(self, gateway: Program) -> None:
        opening = await opening_facts(self._settings)
        self._outcome.driver = str(opening["driver"])
        self._outcome.unenforced = [str(sentence) for sentence in opening["unenforced"]]
        self._report.step(f"the gateway listens on {gateway.url}")
        fallback = self._settings.sandbox_driver == "auto" and self._outcome.driver == "bubblewrap"
        self._report.driver(self._outcome.driver, self._outcome.unenforced, fallback=fallback)
        self._report.task(TASK)

    async def _session(self, gateway: Program, key: str) -> None:
        """A deviation in here is noted, and the records are read all the same."""
        self._report.section("the session, as it happens")
        started = time.monotonic()
        try:
            show = Transcript(self._console).feed
            await converse(gateway.url, key, self._script.request(), self._outcome.answer, show)
            self._took("session", started)
            self._console.print()
            self._processes |= descendants(gateway.pid)
            self._report.step("closing the session and stopping the gateway …")
            await close_session(gateway.url, key)
        except DemoFailed as failure:
            self._deviations.append(str(failure))
        finally:
            self._processes |= descendants(gateway.pid)

    def _look_at_host(self, place: Place) -> None:
        """The host's side of the facts, before the directory goes."""
        sent = place.record.read_bytes() if place.record.exists() else b""
        secret = place.secret.encode()
        program = place.workspace / PROGRAM
        self._host = {
            "secret_seen": secret in sent or secret in self._outcome.answer.body,
            "written_outside": [path for path in (WRITTEN, TOUCHED) if Path(path).exists()],
            "program": program.read_text(encoding="utf-8", errors="replace") if program.exists() else "",
        }

    def _show_records(self) -> None:
        self._report.section("the change, as the session's own `git diff` shows it")
        self._outcome.diff = diff_of(self._facts(Leftovers()))
        self._report.diff(self._outcome.diff)
        self._report.section("the audit trail, read and verified after the gateway ended")
        self._outcome.trail = read_trail(self._settings)
        self._report.trail(self._outcome.trail)

    def _judge(self, root: Path | None) -> None:
        """Nothing of ours runs any more: look for what is left, and check."""
        left = look(
            self._settings,
            docker=self._outcome.driver == "docker",
            processes=self._processes,
            root=None if self._keep else root,
        )
        self._outcome.kept = str(root) if self._keep else None
        self._outcome.checks = checks(self._facts(left))
        self._took("all", self._began)
        self._report.verdict(self._outcome.checks, self._outcome.kept)

    def _facts(self, left: Leftovers) -> Facts:
        answer = self._outcome.answer
        return Facts(
            self._script,
            answer.calls,
            answer.stop_reason,
            deviations=self._deviations,
            canary_connections=self._canary.connections,
            trail=self._outcome.trail,
            leftovers=left,
            **self._host,
        )

    def _took(self, what: str, started: float) -> None:
        self._outcome.seconds[what] = round(time.monotonic() - started, 2)


def _own_settings(settings: Settings, place: Place) -> Settings:
    """The person's choice of driver, image and engine, in the demo's own directories."""
    own = {"data_dir": place.data, "workspace_root": place.workspace, "port": 0, "database_url": None}
    return settings.model_copy(update=own)


def _variables(settings: Settings) -> dict[str, str]:
    """The same for the demo's processes; every other setting has its default there."""
    return {
        "ANTHROPIC_API_KEY": "none-needed",
        "BULKHEAD_DATA_DIR": str(settings.data_dir),
        "BULKHEAD_DISPLAY": "on",
        "BULKHEAD_SANDBOX_DRIVER": settings.sandbox_driver,
        "BULKHEAD_SANDBOX_IMAGE": settings.sandbox_image,
        "DOCKER_HOST": settings.docker_host,
        "PORT": "0",
        "WORKSPACE_ROOT": str(settings.workspace_root),
    }
