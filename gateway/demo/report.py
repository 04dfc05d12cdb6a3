"""What a person reads besides the transcript: progress, the driver's limits, the change, the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from gateway.demo.checks import Check
from gateway.demo.trail import Trail, print_trail
from gateway.demo.transcript import plain

_OPENINGS = {
    "docker": "a hardened container per session, without network. What it does not enforce:",
    "bubblewrap": "embedded, needs no daemon, and is weaker than a container. What it does not enforce:",
}
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class Report:
    """Writes to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        """A line before each wait."""
        self._line(f"[{time.monotonic() - self._began:5.1f}s] {text}", "dim")

    def section(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(title, align="left", style="dim"))

    def driver(self, name: str, unenforced: Sequence[str], *, fallback: bool) -> None:
        self._console.print()
        if fallback:
            self._line("Docker cannot be used here, so the embedded driver is; `bulkhead doctor` says why.", "yellow")
        self._line(f"Sandbox driver {name}: {_OPENINGS.get(name, '')}", "bold")
        for sentence in unenforced:
            self._line(f"  - {sentence}")

    def task(self, text: str) -> None:
        self._console.print()
        self._line(f"The person asks: {text}", "bold")

    def diff(self, diff: str) -> None:
        """A unified diff, coloured."""
        for line in diff.splitlines() or ["(none)"]:
            bold = line.startswith(("+++", "---", "diff "))
            self._line(f"  {plain(line)}", "bold" if bold else _DIFF_STYLES.get(line[:1], ""))

    def trail(self, trail: Trail) -> None:
        print_trail(self._console, trail)
        verdict = "whole" if trail.whole else "BROKEN"
        self._line(
            f"audit verify: {verdict}, {trail.events} events, {trail.unanswered} intents without result",
            "bold" if trail.whole else "bold red",
        )

    def verdict(self, found: Sequence[Check], kept: str | None) -> None:
        self.section("what held")
        for check in found:
            mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
            detail = "\n    ".join(plain(line) for line in check.detail.splitlines())
            self._console.print(Text.assemble((f"{mark} {check.name}", style), f": {detail}"), soft_wrap=True)
        if kept is not None:
            self._line(f"Kept, as asked: {kept}")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)
