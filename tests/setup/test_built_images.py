"""The sandbox image as it was built: who runs in it, and what is not in it."""

from collections.abc import Callable, Iterator

import docker
import pytest

IMAGE = "bulkhead/sandbox-python:latest"
Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """Runs a shell line in a fresh container of the image, without network, and gives its output."""
    client = docker.from_env(version="auto")

    def run(line: str) -> str:
        output: bytes = client.containers.run(
            IMAGE, ["sh", "-c", line], network_mode="none", remove=True, labels={"bulkhead": "test"}, read_only=True
        )
        return output.decode().strip()

    yield run
    client.close()


@pytest.mark.engine
def test_it_runs_as_the_unprivileged_user(shell: Shell) -> None:
    assert shell("id -u; id -g; echo $HOME; pwd").split() == ["10001", "10001", "/home/agent", "/workspace"]


@pytest.mark.engine
def test_no_file_in_it_gives_another_identity(shell: Shell) -> None:
    assert shell("find / -xdev \\( -type f -o -type d \\) -perm /6000 2>/dev/null; true") == ""


@pytest.mark.engine
def test_the_toolhost_has_its_interpreter_and_library(shell: Shell) -> None:
    assert shell("/usr/bin/python3 -I -S -c 'import ctypes, json, selectors, resource; print(1)'") == "1"
    assert shell("ls /opt/bulkhead/toolhost/__main__.py") == "/opt/bulkhead/toolhost/__main__.py"
    assert shell("ls /opt/bulkhead/toolhost/__pycache__ | grep -c pyc") != "0"


@pytest.mark.engine
def test_models_find_the_tools_they_reach_for(shell: Shell) -> None:
    tools = "bash git rg jq ps less file patch python pip pytest make"
    assert shell(f"for tool in {tools}; do command -v $tool >/dev/null || echo $tool; done") == ""


@pytest.mark.engine
def test_git_trusts_a_workspace_of_another_owner(shell: Shell) -> None:
    assert shell("git config --system safe.directory") == "*"


@pytest.mark.engine
def test_no_package_lists_or_logs_were_left(shell: Shell) -> None:
    assert shell("find /var/lib/apt/lists /var/log/apt -type f 2>/dev/null; true") == ""
