"""Result texts and limits that Claude Code's own tools use (measured on 2.1.197 and 2.1.330).

A model trained on them reads them right. Where the two versions differ, the newer one is followed.
"""

from __future__ import annotations

RESULT_CHARS = 30_000
"""Longest command output the model gets whole."""

FAILURE_CHARS = 10_000
"""Longest output of a failed command; past it the middle is cut out."""

PREVIEW_CHARS = 2_000
"""Start of an output too long to be given whole."""

NO_OUTPUT = "(Bash completed with no output)"


def tool_use_error(text: str) -> str:
    """Errors found before the tool did anything."""
    return f"<tool_use_error>{text}</tool_use_error>"


def trimmed(output: str) -> str:
    """Without leading blank lines and trailing white space; the first line keeps its indentation."""
    lines = output.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
    return "\n".join(lines[first:]).rstrip()


def middle_cut(text: str, limit: int = FAILURE_CHARS) -> str:
    """Head and tail of a text longer than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n\n... [{len(text) - limit} characters truncated] ...\n\n{text[-half:]}"


def persisted(output: str, size: int, path: str) -> str:
    """What stands for an output that was too long and lies in a file; `size` in bytes."""
    preview = output[:PREVIEW_CHARS]
    cut = preview.rfind("\n")
    if cut > 0:
        preview = preview[:cut]
    return (
        f"<persisted-output>\nOutput too large ({size / 1024:.1f}KB). Full output saved to: {path}\n\n"
        f"Preview (first 2KB):\n{preview}\n...\n</persisted-output>"
    )


def duration(milliseconds: float) -> str:
    """`2m 0s`, `1s`: whole seconds, rounded down."""
    seconds = int(milliseconds // 1000)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h {minutes}m {seconds}s"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def input_validation_error(tool: str, problems: list[str]) -> str:
    issue = "issue" if len(problems) == 1 else "issues"
    lines = "\n".join(problems)
    return tool_use_error(f"InputValidationError: {tool} failed due to the following {issue}:\n{lines}")
