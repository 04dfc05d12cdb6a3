"""Stop sequences the server was not told of: finds them in streamed text, wherever it is cut.

Knows text only.
"""

from collections.abc import Sequence

__all__ = ["StopGate"]


class StopGate:
    """Text goes in by pieces and comes out up to the first stop sequence. What may be the beginning of one is
    held back until it is decided; that is never more than the longest sequence less one character."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str | None]:
        """The text that may be shown now, and the sequence that ended it."""
        if not self._stops:
            return piece, None
        text = self._held + piece
        self._held = ""
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda one: one[0])
            return text[:at], stop
        keep = min(_possible_start(text, stop) for stop in self._stops)
        self._held = text[keep:]
        return text[:keep], None

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _possible_start(text: str, stop: str) -> int:
    """Where in `text` a sequence may have begun that more text could complete; its length when nowhere."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return at
        at = text.find(stop[0], at + 1)
    return len(text)
