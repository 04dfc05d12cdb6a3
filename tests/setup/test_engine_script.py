"""scripts/engine: what it does about an engine that is there, missing, broken or half dead."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Machine

ENGINE = ROOT / "scripts" / "engine"
ONE_SENTENCE = Callable[[subprocess.CompletedProcess[str]], str]
NO_ENGINE = 3


@pytest.fixture
def engineless(machine: Machine) -> Machine:
    """Root on a machine where no engine answers until something makes the file `answers`."""
    machine.fake("id", "echo 0")
    machine.fake("python3", 'test -e "$MACHINE/answers" && echo 99.1')
    machine.fake("systemctl", "echo offline; exit 1")
    machine.environment |= {
        "ENGINE_LOG": str(machine.directory / "dockerd.log"),
        "ENGINE_RUN": str(machine.directory / "run"),
        "ENGINE_WAIT": "5",
    }
    (machine.directory / "run").mkdir()
    return machine


def test_an_engine_that_answers_on_docker_host_is_used_as_it_is(machine: Machine, engine_socket: Path) -> None:
    machine.fake("python3", f'exec "{sys.executable}" "$@"')
    machine.environment["DOCKER_HOST"] = f"unix://{engine_socket}"
    result = machine.run(ENGINE)
    assert result.returncode == 0, result.stderr
    assert "Engine 42.0 answers" in result.stdout


def test_a_docker_host_that_does_not_answer_is_named_and_nothing_is_started(
    engineless: Machine, one_sentence: ONE_SENTENCE
) -> None:
    engineless.fake("dockerd", 'touch "$MACHINE/started"')
    engineless.environment["DOCKER_HOST"] = "unix:///nowhere.sock"
    result = engineless.run(ENGINE)
    assert result.returncode == NO_ENGINE
    assert "DOCKER_HOST=unix:///nowhere.sock" in one_sentence(result)
    assert not (engineless.directory / "started").exists()


def test_without_root_it_says_what_to_type(engineless: Machine, one_sentence: ONE_SENTENCE) -> None:
    engineless.fake("id", "echo 1000")
    result = engineless.run(ENGINE)
    assert result.returncode == NO_ENGINE
    assert "sudo apt-get install docker.io" in one_sentence(result)


def test_without_an_engine_or_a_package_manager_it_says_what_to_install(
    engineless: Machine, one_sentence: ONE_SENTENCE
) -> None:
    result = engineless.run(ENGINE)
    assert result.returncode == NO_ENGINE
    assert "install Docker Engine 20.10 or newer" in one_sentence(result)


def test_a_missing_engine_is_installed_and_started(engineless: Machine) -> None:
    engineless.fake(
        "apt-get",
        'echo "$@" >> "$MACHINE/apt"\n'
        'case "$*" in *docker.io*)\n'
        'printf "#!/bin/sh\\ntouch $MACHINE/answers\\nexec sleep 20\\n" > "$MACHINE/bin/dockerd"\n'
        'chmod 755 "$MACHINE/bin/dockerd" ;; esac',
    )
    result = engineless.run(ENGINE)
    assert result.returncode == 0, result.stderr
    assert "install --no-install-recommends docker.io" in (engineless.directory / "apt").read_text()
    assert "Engine 99.1 answers" in result.stdout


def test_a_dockerd_that_dies_shows_its_last_words_and_one_sentence(
    engineless: Machine, one_sentence: ONE_SENTENCE
) -> None:
    engineless.fake("dockerd", "echo failed to mount overlay: operation not permitted; exit 1")
    result = engineless.run(ENGINE)
    assert result.returncode == NO_ENGINE
    assert "failed to mount overlay: operation not permitted" in result.stderr
    assert "did not come up" in one_sentence(result)


def test_a_dockerd_that_never_answers_is_given_up_and_ended(engineless: Machine, one_sentence: ONE_SENTENCE) -> None:
    engineless.fake("dockerd", 'echo $$ > "$MACHINE/pid"; exec sleep 60')
    result = engineless.run(ENGINE)
    assert result.returncode == NO_ENGINE
    assert "within 5 seconds" in one_sentence(result)
    pid = (engineless.directory / "pid").read_text().strip()
    deadline = time.monotonic() + 10
    while "sleep" in _command_of(pid):
        assert time.monotonic() < deadline


def test_stale_pid_files_are_removed_before_the_start(engineless: Machine) -> None:
    engineless.fake("dockerd", 'test ! -e "$ENGINE_RUN/docker.pid" && touch "$MACHINE/answers"; exec sleep 20')
    (engineless.directory / "run" / "docker.pid").write_text(str(os.getpid()))
    nested = engineless.directory / "run" / "docker" / "containerd"
    nested.mkdir(parents=True)
    (nested / "containerd.pid").write_text("nonsense")
    result = engineless.run(ENGINE)
    assert result.returncode == 0, result.stderr
    assert not (nested / "containerd.pid").exists()


def test_on_a_systemd_machine_the_unit_is_started(engineless: Machine) -> None:
    if not Path("/run/systemd/system").is_dir():
        engineless.fake("dockerd", 'touch "$MACHINE/answers"; exec sleep 20')
        assert engineless.run(ENGINE).returncode == 0
        return
    engineless.fake("dockerd", 'touch "$MACHINE/started"')
    engineless.fake("systemctl", 'case $1 in is-*) echo running ;; start) touch "$MACHINE/answers" ;; esac')
    assert engineless.run(ENGINE).returncode == 0
    assert not (engineless.directory / "started").exists()


@pytest.mark.parametrize(
    ("content", "process", "expected"),
    [
        (None, None, "absent"),
        ("", None, "stale"),
        ("not a number", None, "stale"),
        ("4242\n", None, "stale"),
        ("4242\n", "nginx", "stale"),
        ("4242\n", "dockerd", "live"),
        (" 4242 ", "dockerd", "live"),
    ],
)
def test_a_pid_file_is_trusted_only_when_its_process_has_the_name(
    machine: Machine, content: str | None, process: str | None, expected: str
) -> None:
    file = machine.directory / "docker.pid"
    if content is not None:
        file.write_text(content)
    if process is not None:
        (machine.directory / "proc" / "4242").mkdir(parents=True)
        (machine.directory / "proc" / "4242" / "comm").write_text(f"{process}\n")
    machine.environment["PROC_ROOT"] = str(machine.directory / "proc")
    result = machine.run(ROOT / "scripts" / "engine-pid", file, "dockerd")
    assert result.stdout.strip() == expected


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
