"""The command line against a data directory of the test's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli import run
from gateway.settings import CONFIG_VARIABLE, Settings, variable_of


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    workspace = tmp_path / "code"
    workspace.mkdir()
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WORKSPACE_ROOT", str(workspace))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


@pytest.fixture
def bulkhead(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `bulkhead ARGUMENTS...` in this process."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(list(arguments))
        return Ran(code, *capsys.readouterr())

    return call
