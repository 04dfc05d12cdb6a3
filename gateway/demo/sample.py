"""The sample repository: a small program with a history and one failing test. Only this file runs git."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.failure import DemoFailed

PROGRAM = "invoice.py"
WRONG = "return subtotal - discount"
RIGHT = "return subtotal - subtotal * discount // 100"

_FIRST = '''"""Invoices in whole cents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    title: str
    count: int
    cents: int


def total(lines: list[Line]) -> int:
    """What the customer pays."""
    return sum(line.count * line.cents for line in lines)
'''

_SECOND = f'''"""Invoices in whole cents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    title: str
    count: int
    cents: int


def total(lines: list[Line], discount: int = 0) -> int:
    """What the customer pays; the discount is in percent."""
    subtotal = sum(line.count * line.cents for line in lines)
    {WRONG}
'''

_TESTS = """import unittest

from invoice import Line, total

LINES = [Line("paper", 3, 450), Line("ink", 1, 3650)]


class TotalTest(unittest.TestCase):
    def test_lines_are_summed(self):
        self.assertEqual(total(LINES), 5000)

    def test_nothing_costs_nothing(self):
        self.assertEqual(total([]), 0)
"""

_DISCOUNT_TEST = """
    def test_discount_is_a_percentage(self):
        self.assertEqual(total(LINES, discount=10), 4500)
"""


@dataclass(frozen=True, slots=True)
class _Commit:
    message: str
    files: Mapping[str, str]


_HISTORY = (
    _Commit(
        "Sum the lines of an invoice",
        {
            "README.md": "# invoices\n\nRun the tests: `python3 -m unittest`\n",
            ".gitignore": "__pycache__/\n",
            PROGRAM: _FIRST,
            "test_invoice.py": _TESTS,
        },
    ),
    _Commit("Give a discount", {PROGRAM: _SECOND}),
    _Commit("Test the discount", {"test_invoice.py": _TESTS + _DISCOUNT_TEST}),
)


def make_repository(directory: Path) -> None:
    """Create the repository with its history. Raises `DemoFailed` where there is no git."""
    git = shutil.which("git")
    if git is None:
        raise DemoFailed("git is not installed, and the sample repository is made with it; install git.")
    directory.mkdir()
    _run(git, directory, 0, "init", "--quiet", "--template=", "--initial-branch=main")
    for number, commit in enumerate(_HISTORY):
        for name, text in commit.files.items():
            (directory / name).write_text(text, encoding="utf-8")
        _run(git, directory, number, "add", "--all")
        _run(git, directory, number, "commit", "--quiet", "--message", commit.message)


def _run(git: str, directory: Path, day: int, *arguments: str) -> None:
    """git without the configuration of whoever runs the demo, hooks included."""
    when = f"2026-01-{day + 1:02}T12:00:00Z"
    person = {"NAME": "Ada Example", "EMAIL": "ada@example.invalid", "DATE": when}
    environment = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in person.items()}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [git, "-C", str(directory), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise DemoFailed(f"git {arguments[0]} failed on the sample repository: {done.stderr.strip()}")
