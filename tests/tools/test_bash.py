"""Bash in a sandbox: the texts, statuses and directories that the real client's tool gives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.tools.base import ToolResult
from gateway.tools.catalogue import CATALOGUE
from gateway.tools.inputs import BashInput
from gateway.tools.workbench import Workbench

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("command", "content", "is_error"),
    [
        ("echo hi", "hi", False),
        ("echo out; echo err >&2; echo again", "out\nerr\nagain", False),
        ("true", "(Bash completed with no output)", False),
        ("printf '\\n \\n'", "(Bash completed with no output)", False),
        ("echo bad; exit 3", "Exit code 3\nbad", True),
        ("exit 1", "Exit code 1", True),
        ("printf '\\n\\n  a\\n'; exit 1", "Exit code 1\n\n\n  a", True),
        ("nosuchcmd_xyz", "Exit code 127\n/bin/bash: line 1: nosuchcmd_xyz: command not found", True),
        ("printf '\\377\\376\\000abc'", "\ufffd\ufffd\x00abc", False),
        ("printf '\\033[31mred\\033[0m'", "\x1b[31mred\x1b[0m", False),
        ("grep zzz /dev/null", "(Bash completed with no output)", False),
        ("cat /dev/null | grep zzz", "(Bash completed with no output)", False),
        ("grep zzz /no/such", "Exit code 2\ngrep: /no/such: No such file or directory", True),
    ],
)
async def test_results_read_like_the_clients_own(run: Run, command: str, content: str, is_error: bool) -> None:
    result = await run("Bash", command=command)
    assert (result.content, result.is_error) == (content, is_error)


async def test_the_directory_persists_when_the_command_succeeded(run: Run, workspace: Path) -> None:
    await run("Bash", command="mkdir sub && cd sub")
    assert (await run("Bash", command="pwd")).content == str(workspace / "sub")
    await run("Bash", command="cd ..; false")
    assert (await run("Bash", command="pwd")).content == str(workspace / "sub")


async def test_a_directory_outside_the_workspace_is_left_again(run: Run, workspace: Path) -> None:
    result = await run("Bash", command="cd /tmp && pwd")
    assert result.content == f"/tmp\nShell cwd was reset to {workspace}"
    assert (await run("Bash", command="pwd")).content == str(workspace)


async def test_a_directory_that_is_gone_is_explained_and_left(run: Run, workspace: Path) -> None:
    await run("Bash", command="mkdir sub && cd sub")
    await run("Bash", command="rmdir ../sub; true")
    (workspace / "sub").rmdir() if (workspace / "sub").exists() else None
    result = await run("Bash", command="pwd")
    assert result.is_error
    assert "no longer exists" in result.content
    assert (await run("Bash", command="pwd")).content == str(workspace)


async def test_nothing_but_the_directory_persists(run: Run) -> None:
    await run("Bash", command="export LEFT=over; x=1")
    assert (await run("Bash", command='echo "[$LEFT$x]"')).content == "[]"


async def test_a_command_past_its_time_is_killed_with_all_it_started(run: Run, workspace: Path) -> None:
    result = await run(
        "Bash",
        command="echo begun; (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' &) ; sleep 600",
        timeout=1500,
    )
    assert result.content == "Exit code 143\nCommand timed out after 1s\nbegun"
    assert result.is_error
    left = await run("Bash", command="ps -eo args | grep -c '[w]hile :'; true")
    assert left.content == "0"


async def test_too_much_output_ends_the_command(run: Run) -> None:
    result = await run("Bash", command="yes")
    assert result.is_error
    assert "wrote more than 4 MiB and was stopped" in result.content
    assert len(result.content) < 12_000
    assert (await run("Bash", command="echo alive")).content == "alive"


async def test_long_output_is_kept_in_a_file_of_the_sandbox(run: Run) -> None:
    result = await run("Bash", command="seq 1 20000")
    assert result.content.startswith("<persisted-output>\nOutput too large (106.3KB). Full output saved to: /tmp/")
    path = re.search(r"saved to: (\S+)", result.content)
    assert path is not None
    assert (await run("Bash", command=f"tail -n 1 {path[1]}; wc -l < {path[1]}")).content == "20000\n20000"


async def test_a_long_failure_keeps_its_head_and_its_tail(run: Run) -> None:
    result = await run("Bash", command="seq 1 9000; exit 4")
    assert result.content.startswith("Exit code 4\n1\n2\n")
    assert "characters truncated" in result.content
    assert result.content.endswith("9000")


async def test_standard_input_is_empty_and_there_is_no_terminal(run: Run) -> None:
    assert (await run("Bash", command="cat; [ -t 0 ] && echo tty; true")).content == "(Bash completed with no output)"


async def test_cancelling_the_call_kills_the_command(bench: Workbench, run: Run) -> None:
    began = asyncio.Event()
    call = asyncio.create_task(
        CATALOGUE["Bash"].run(BashInput("echo begun; exec sleep 4321"), bench, lambda text: began.set())
    )
    await asyncio.wait_for(began.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await run("Bash", command="pgrep -f '[s]leep 4321' || echo none")).content == "none"


async def test_independent_commands_run_beside_each_other(run: Run) -> None:
    """Each waits for a file that the other makes: one after the other, they would wait for ever."""
    both = await asyncio.gather(
        run("Bash", command="touch a; until [ -e b ]; do sleep 0.01; done; echo one", timeout=20_000),
        run("Bash", command="touch b; until [ -e a ]; do sleep 0.01; done; echo two", timeout=20_000),
    )
    assert [result.content for result in both] == ["one", "two"]


async def test_a_background_job_runs_on_and_its_end_is_told(run: Run, bench: Workbench) -> None:
    started = await run(
        "Bash", command="echo one; until [ -e go ]; do sleep 0.01; done; echo two", run_in_background=True
    )
    found = re.fullmatch(
        r"Command running in background with ID: (b[0-9a-z]{8})\. Output is being written to: (\S+)\. You will be "
        r"notified when it completes\. To check interim output, use Read on that file path\.",
        started.content,
    )
    assert found is not None
    waiting = await run("TaskOutput", task_id=found[1], block=False)
    assert "<retrieval_status>not_ready</retrieval_status>" in waiting.content
    assert "<status>running</status>" in waiting.content
    await run("Bash", command="touch go")
    ended = await run("TaskOutput", task_id=found[1], timeout=20_000)
    assert "<retrieval_status>success</retrieval_status>" in ended.content
    assert "<exit_code>0</exit_code>" in ended.content
    assert "<output>\none\ntwo\n</output>" in ended.content
    assert (await run("Read", file_path=found[2])).content.startswith("1\tone\n2\ttwo")


async def test_a_background_job_is_stopped_with_all_it_started(run: Run) -> None:
    started = await run("Bash", command="(setsid sleep 5432 &); sleep 5432", run_in_background=True)
    job = re.search(r"ID: (\w+)", started.content)
    assert job is not None
    stopped = await run("TaskStop", task_id=job[1])
    assert f'"message":"Successfully stopped task: {job[1]}' in stopped.content
    assert (await run("Bash", command="pgrep -f '[s]leep 5432' || echo none")).content == "none"
    again = await run("TaskStop", shell_id=job[1])
    assert again.content == f"<tool_use_error>No task found with ID: {job[1]}</tool_use_error>"


async def test_a_foreground_timeout_leaves_background_jobs_alone(run: Run) -> None:
    started = await run("Bash", command="until [ -e go ]; do sleep 0.02; done; echo survived", run_in_background=True)
    job = re.search(r"ID: (\w+)", started.content)
    assert job is not None
    timed_out: ToolResult = await run("Bash", command="sleep 600", timeout=300)
    assert timed_out.is_error
    await run("Bash", command="touch go")
    assert "survived" in (await run("TaskOutput", task_id=job[1], timeout=20_000)).content


async def test_unknown_jobs_are_said_to_be_unknown(run: Run) -> None:
    expected = "<tool_use_error>No task found with ID: zzzz</tool_use_error>"
    assert (await run("TaskOutput", task_id="zzzz")).content == expected
    assert (await run("TaskStop", task_id="zzzz")).content == expected
    assert (await run("TaskStop")).content == "<tool_use_error>Missing required parameter: task_id</tool_use_error>"
    assert (await run("KillShell", shell_id="zzzz")).content == expected
    assert (await run("BashOutput", bash_id="zzzz")).content == expected
