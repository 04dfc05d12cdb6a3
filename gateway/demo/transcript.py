"""Prints the session as it happens, line by line. What comes from a sandbox cannot steer the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from gateway.messages.events import CONTENT_BLOCK_DELTA, CONTENT_BLOCK_START, CONTENT_BLOCK_STOP, Event

_FENCE = "````"


def plain(text: str) -> str:
    """Without control characters."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text.expandtabs(4))


class Transcript:
    """Fed with the events of one stream."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pending = ""
        self._lines = 0
        self._shows_call: bool | None = None
        self._opening_told = False

    def feed(self, event: Event) -> None:
        if event.name == CONTENT_BLOCK_START:
            block = event.data["content_block"]
            if block.get("type") == "text":
                self._shows_call = bool((block.get("gateway") or {}).get("display_only"))
                self._pending, self._lines = str(block.get("text") or ""), 0
        elif event.name == CONTENT_BLOCK_DELTA and self._shows_call is not None:
            *lines, self._pending = (self._pending + str(event.data["delta"].get("text", ""))).split("\n")
            for line in lines:
                self._print(line)
        elif event.name == CONTENT_BLOCK_STOP and self._shows_call is not None:
            if self._pending:
                self._print(self._pending)
            if not self._shows_call and not self._opening_told:
                self._opening_told = True
                self._console.print(Text("opening the sandbox …", "dim"))
            self._pending, self._shows_call = "", None

    def _print(self, line: str) -> None:
        self._lines += 1
        if not self._shows_call:
            text = Text(f"{'' if self._lines > 1 else chr(10)}{plain(line)}", "bold")
        elif self._lines == 1:
            text = Text(f"● {plain(line)}", "cyan")
        elif line == _FENCE:
            return
        else:
            text = Text(f"  │ {plain(line)}", "dim")
        self._console.print(text, soft_wrap=True)
