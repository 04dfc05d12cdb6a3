"""What a person sees of a gateway-run call: a header line and a few lines of output while it runs."""

from __future__ import annotations

LINES = 12
"""Lines of output shown of one call."""

LINE_CHARS = 200
HEADLINE_CHARS = 120

_FENCE = "````"


def header(tool: str, headline: str, sandbox: str) -> str:
    """`Bash(pytest -q) · sandbox 3f2a`, on one line."""
    line = " ".join(headline.split())
    if len(line) > HEADLINE_CHARS:
        line = line[: HEADLINE_CHARS - 1] + "…"
    return f"{tool}({line}) · sandbox {sandbox}\n"


class OutputView:
    """Turns pieces of output into what is shown of them: the first lines, fenced, then how many more came."""

    def __init__(self) -> None:
        self._pending = ""
        self._lines = 0
        self._fenced = False

    @property
    def empty(self) -> bool:
        return self._lines == 0 and not self._pending.strip()

    def feed(self, text: str) -> str:
        """The complete lines that this piece adds, as far as they are shown."""
        *complete, self._pending = (self._pending + text).split("\n")
        if self._lines >= LINES:
            self._pending = self._pending[-LINE_CHARS:]
        return "".join(self._line(line) for line in complete)

    def finish(self) -> str:
        """The rest, and the closing fence."""
        last = self._line(self._pending) if self._pending.strip() else ""
        self._pending = ""
        if not self._fenced:
            return last
        hidden = self._lines - LINES
        more = f"… {hidden} more line{'' if hidden == 1 else 's'}\n" if hidden > 0 else ""
        return f"{last}{more}{_FENCE}\n"

    def _line(self, line: str) -> str:
        if self._lines == 0 and not line.strip():
            return ""
        self._lines += 1
        if self._lines > LINES:
            return ""
        opening = "" if self._fenced else f"{_FENCE}\n"
        self._fenced = True
        shown = line.rstrip("\r").replace(_FENCE, "'" * len(_FENCE))
        if len(shown) > LINE_CHARS:
            shown = shown[: LINE_CHARS - 1] + "…"
        return f"{opening}{shown}\n"
