"""Documentation is part of a change: what it names must exist, and what exists must be named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from gateway.tools.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def known_tests() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names |= set(re.findall(r"def (test_\w+)", path.read_text()))
    return names


def test_every_guarantee_names_tests_that_exist() -> None:
    table = SECURITY.split("<!-- guarantees -->")[1].split("<!-- end -->")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ") and "proven by" not in row]
    assert len(rows) >= 20
    known = known_tests()
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"no test proves: {row}"
        assert set(named) <= known, f"missing: {set(named) - known}"


def test_the_first_two_code_blocks_of_the_readme_are_the_two_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert [block.strip() for block in blocks[:2]] == ["make demo", "make test"]


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        if name != "broker":
            assert f"`bulkhead {name}" in README, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_of_the_repository_lead_somewhere(page: Path) -> None:
    for named in re.findall(r"`((?:docs|gateway|tests|scripts|sandbox-images|benchmarks)/[\w./-]+)`", page.read_text()):
        assert (ROOT / named).exists(), f"{page.name} names {named}"


def test_every_tool_the_gateway_runs_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    for name in CATALOGUE:
        assert name in text, name


def test_the_generated_tables_are_as_the_code_declares() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
