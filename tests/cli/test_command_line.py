"""The command as a whole: quick to list, never a traceback, an example for every command."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.cli import COMMANDS

Bulkhead = Callable[..., Any]

OWN = ("keys create", "keys list", "keys revoke", "audit list", "audit show", "audit verify", "audit export", "doctor")


def test_help_lists_every_command(bulkhead: Bulkhead) -> None:
    ran = bulkhead("--help")
    assert ran.code == 0
    for name, command in COMMANDS.items():
        assert name in ran.out
        assert command.help in ran.out
    assert bulkhead().out == ran.out


def test_every_command_in_the_table_exists() -> None:
    for command in COMMANDS.values():
        module, _, attribute = command.target.partition(":")
        target = getattr(importlib.import_module(module), attribute)
        assert isinstance(target, typer.Typer) or callable(target)


@pytest.mark.parametrize("command", OWN)
def test_every_command_explains_itself_with_an_example(bulkhead: Bulkhead, command: str) -> None:
    ran = bulkhead(*command.split(), "--help")
    assert ran.code == 0
    assert f"bulkhead {command}" in ran.out.split("Example:")[1]


def test_help_imports_neither_database_nor_web_framework() -> None:
    program = (
        "import sys; from gateway.cli import run; run(['--help']); "
        "print(*(name for name in ('sqlalchemy', 'fastapi', 'pydantic', 'docker') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_the_version_is_shown(bulkhead: Bulkhead) -> None:
    ran = bulkhead("--version")
    assert (ran.code, ran.out.count(".")) == (0, 2)


def test_an_unknown_command_is_wrong_usage(bulkhead: Bulkhead) -> None:
    ran = bulkhead("launch")
    assert (ran.code, "launch" in ran.err) == (2, True)


def test_a_wrong_setting_is_one_line(bulkhead: Bulkhead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    ran = bulkhead("keys", "list")
    assert ran.code == 2
    assert ran.err.startswith("bulkhead: PORT: ")
    assert ran.err.count("\n") == 1


def test_a_damaged_database_is_one_line(bulkhead: Bulkhead, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "bulkhead.db").write_bytes(b"no database" * 500)
    ran = bulkhead("keys", "create", "a", "--subject", "b")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "file is not a database" in ran.err
