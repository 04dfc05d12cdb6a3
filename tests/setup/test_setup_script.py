"""scripts/setup: the order of the steps, and what happens when there can be no engine."""

import shutil
import subprocess
from collections.abc import Callable

import pytest
from conftest import ROOT, Machine, sentences

ONE_SENTENCE = Callable[[subprocess.CompletedProcess[str]], str]


@pytest.fixture
def checkout(machine: Machine) -> Machine:
    """A checkout whose Python environment and engine are fakes; `bulkhead` notes how it was called."""
    scripts = machine.directory / "scripts"
    scripts.mkdir()
    for name in ("setup", "setup-steps.sh"):
        shutil.copy(ROOT / "scripts" / name, scripts / name)
    machine.fake("id", "echo 0")
    machine.fake("../scripts/python-env", 'echo environment >> "$MACHINE/calls"')
    machine.fake("../scripts/engine", 'echo engine >> "$MACHINE/calls"')
    (machine.directory / ".venv" / "bin").mkdir(parents=True)
    machine.fake("../.venv/bin/bulkhead", 'echo "bulkhead $*" >> "$MACHINE/calls"')
    return machine


def _setup(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return machine.run(machine.directory / "scripts" / "setup", *arguments)


def _calls(machine: Machine) -> list[str]:
    return (machine.directory / "calls").read_text().splitlines()


def test_environment_then_engine_then_images(checkout: Machine) -> None:
    result = _setup(checkout)
    assert result.returncode == 0, result.stderr
    assert _calls(checkout) == ["environment", "engine", "bulkhead images build"]
    assert "Set up" in result.stdout


def test_without_an_engine_setup_ends_with_the_engines_own_sentence_and_code(checkout: Machine) -> None:
    checkout.fake("../scripts/engine", "echo 'error: no engine, do this' >&2; exit 3")
    result = _setup(checkout)
    assert result.returncode == 3
    assert sentences(result) == ["error: no engine, do this"]
    assert _calls(checkout) == ["environment"]


def test_the_demo_goes_on_with_the_embedded_driver(checkout: Machine) -> None:
    checkout.fake("../scripts/engine", "exit 3")
    for tool in ("bwrap", "rg", "git"):
        checkout.fake(tool, "")
    result = _setup(checkout, "--embedded-ok")
    assert result.returncode == 0, result.stderr
    assert "embedded bubblewrap driver" in result.stdout
    assert _calls(checkout) == ["environment"]


def test_missing_tools_of_the_embedded_driver_are_installed(checkout: Machine) -> None:
    checkout.fake("../scripts/engine", "exit 3")
    checkout.fake("git", "")
    checkout.fake("apt-get", 'echo "apt-get $*" >> "$MACHINE/calls"')
    assert _setup(checkout, "--embedded-ok").returncode == 0
    assert _calls(checkout)[-1].endswith("install --no-install-recommends bubblewrap ripgrep")


def test_without_root_the_missing_tools_are_named(checkout: Machine, one_sentence: ONE_SENTENCE) -> None:
    checkout.fake("../scripts/engine", "exit 3")
    checkout.fake("id", "echo 1000")
    result = _setup(checkout, "--embedded-ok")
    assert result.returncode == 1
    assert "bubblewrap ripgrep git" in one_sentence(result)


def test_a_machine_that_must_make_its_base_image_gets_mmdebstrap(checkout: Machine) -> None:
    checkout.fake("../.venv/bin/bulkhead", 'test -e "$MACHINE/made" || exit 4; echo built >> "$MACHINE/calls"')
    checkout.fake("apt-get", 'echo "$*" >> "$MACHINE/apt"; touch "$MACHINE/made"')
    result = _setup(checkout)
    assert result.returncode == 0, result.stderr
    assert "mmdebstrap" in (checkout.directory / "apt").read_text()
    assert _calls(checkout)[-1] == "built"


def test_a_failing_build_ends_setup_with_its_code(checkout: Machine) -> None:
    checkout.fake("../.venv/bin/bulkhead", "echo 'bulkhead images: why, and what to do' >&2; exit 1")
    result = _setup(checkout)
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["bulkhead images: why, and what to do"]


def test_a_failing_environment_stops_before_the_engine(checkout: Machine) -> None:
    checkout.fake("../scripts/python-env", "echo 'error: no index' >&2; exit 1")
    result = _setup(checkout)
    assert result.returncode == 1
    assert sentences(result) == ["error: no index"]
    assert not (checkout.directory / "calls").exists()


def test_an_unknown_option_is_named(checkout: Machine, one_sentence: ONE_SENTENCE) -> None:
    result = _setup(checkout, "--nonsense")
    assert result.returncode == 2
    assert "--nonsense" in one_sentence(result)
