"""What `make test` counts, prints and treats as failure."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test_suites.py"


@pytest.fixture(scope="module")
def suites() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suite_runner", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_ends_with_the_total_alone_on_a_line(suites: ModuleType) -> None:
    outcomes = [suites.Outcome("lint", 1, 0, 0, 0.5), suites.Outcome("tests/agent", 40, 2, 1, 12.0)]
    assert suites.table(outcomes).splitlines()[-1] == "total: 41 passed, 2 failed, 1 skipped"


def test_a_suite_that_ran_nothing_is_not_ok(suites: ModuleType) -> None:
    nothing = suites.Outcome("tests/agent", 0, 0, 3, 1.0)
    assert not nothing.ok
    assert "ran no test" in suites.table([nothing])


def test_errors_count_as_failures(suites: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="1"/></testsuites>')
    assert suites.read_report(report) == (5, 3, 1)


def test_a_run_without_a_report_is_a_failure(suites: ModuleType) -> None:
    outcome = suites.run_pytest("broken", ["--no-such-option"])
    assert outcome.failed == 1
    assert not outcome.ok


def test_suites_run_in_the_given_order_and_new_ones_after_them(suites: ModuleType, tmp_path: Path) -> None:
    for name in ("zebra", "agent", "messages", "clients"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_it.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "test_alone.py").touch()
    found = [name for name, _ in suites.suites(tmp_path)]
    assert found == ["tests/*.py", "tests/messages", "tests/agent", "tests/clients", "tests/zebra"]
