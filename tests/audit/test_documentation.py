"""The documentation says what the code does."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from audit_writing import conclude, intend

from gateway.audit.events import CATALOGUE
from gateway.audit.export import export
from gateway.audit.log import AuditLog

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts/reference.py"))


@pytest.mark.parametrize("page", ["audit.md", "configuration.md"])
def test_the_tables_are_current(reference: dict[str, Any], page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert "<!-- table: " in text
    assert text == reference["renewed"](text)


def test_every_result_answers_an_intent_and_every_intent_has_a_result() -> None:
    intents = {kind.kind for kind in CATALOGUE.values() if kind.role == "intent"}
    answered = {of for kind in CATALOGUE.values() for of in kind.of}
    assert answered == intents
    assert all(bool(kind.of) == (kind.role == "result") for kind in CATALOGUE.values())


async def test_the_recipe_in_the_documentation_checks_an_export(
    engine: sa.Engine, log: AuditLog, tmp_path: Path
) -> None:
    await conclude(log, await intend(log, input="\u00e9\udcff\x00"))
    path = tmp_path / "audit.jsonl"
    with path.open("w") as file:
        export(engine, file)
    (recipe,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)

    def check() -> int:
        return subprocess.run([sys.executable, "-W", "ignore", "-c", recipe], cwd=tmp_path, check=False).returncode

    assert check() == 0
    path.write_text(path.read_text().replace("alice", "mallory"))
    assert check() != 0
