"""Background jobs: programs that run on in the sandbox after their call has returned."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html import escape

import msgspec

from gateway.sandbox.errors import ToolhostError
from gateway.tools.base import Effect, Show, Tool, ToolResult
from gateway.tools.inputs import BashInput, BashOutputInput, KillShellInput, TaskOutputInput, TaskStopInput
from gateway.tools.texts import RESULT_CHARS, middle_cut, tool_use_error
from gateway.tools.workbench import BackgroundJob, Workbench

TASKS_DIRECTORY = "/tmp/bulkhead/tasks"

OUTPUT_FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of a job's output file; what comes after is dropped."""


async def start_job(bench: Workbench, arguments: BashInput, argv: list[str], env: Mapping[str, str]) -> ToolResult:
    """Start it and return at once; raises `ToolhostError` when it cannot start."""
    job_id = bench.next_id("b")
    path = f"{TASKS_DIRECTORY}/{job_id}.output"
    process = await bench.toolhost.spawn(
        argv, cwd=bench.directory, env=env, output_path=path, file_limit=OUTPUT_FILE_LIMIT
    )
    title = arguments.description or arguments.command
    bench.jobs[job_id] = BackgroundJob(job_id, arguments.command, title, process, path)
    return ToolResult(
        f"Command running in background with ID: {job_id}. Output is being written to: {path}. "
        "You will be notified when it completes. To check interim output, use Read on that file path.",
        facts={"job": job_id, "background": True},
    )


def finished_notices(bench: Workbench) -> list[str]:
    """One notice for each job that ended since the last call; each is given once."""
    notices = []
    for job in bench.jobs.values():
        exit_ = job.process.exit
        if exit_ is None or job.reported or job.stopped:
            continue
        job.reported = True
        ended = "completed" if exit_.code == 0 else "failed"
        how = f"completed (exit code {exit_.code})" if exit_.code == 0 else f"failed with {job.ending()}"
        notices.append(
            f"<task-notification>\n<task-id>{job.id}</task-id>\n<output-file>{job.output_path}</output-file>\n"
            f"<status>{ended}</status>\n"
            f'<summary>Background command "{escape(job.title, quote=False)}" {how}</summary>\n'
            "</task-notification>"
        )
    return notices


def _missing(task_id: str) -> ToolResult:
    return ToolResult(tool_use_error(f"No task found with ID: {task_id}"), is_error=True)


async def _output(bench: Workbench, job: BackgroundJob) -> str:
    """The job's output so far, at most `RESULT_CHARS` from its end."""
    try:
        stat = await bench.toolhost.stat(job.output_path)
        chunk = await bench.toolhost.read(
            job.output_path, max(0, stat.size - RESULT_CHARS * 4), min(RESULT_CHARS * 4, 1024 * 1024)
        )
    except ToolhostError as error:
        return f"[the output file cannot be read: {error.reason}]"
    return middle_cut(chunk.data.decode(errors="replace"), RESULT_CHARS)


async def _report(bench: Workbench, job: BackgroundJob, retrieval: str) -> ToolResult:
    exit_ = job.process.exit
    parts = [
        f"<retrieval_status>{retrieval}</retrieval_status>",
        f"<task_id>{job.id}</task_id>",
        "<task_type>local_bash</task_type>",
        f"<status>{'running' if exit_ is None else 'completed'}</status>",
    ]
    if exit_ is not None:
        job.reported = True
        parts.append(f"<exit_code>{exit_.code if exit_.code is not None else 128 + (exit_.signal or 0)}</exit_code>")
    parts.append(f"<output>\n{(await _output(bench, job)).rstrip()}\n</output>")
    return ToolResult("\n\n".join(parts))


class TaskOutput(Tool[TaskOutputInput]):
    name = "TaskOutput"
    effect = Effect.READ
    input_type = TaskOutputInput

    def owns(self, arguments: TaskOutputInput, bench: Workbench) -> bool:
        return arguments.task_id in bench.jobs

    def headline(self, arguments: TaskOutputInput) -> str:
        return arguments.task_id

    async def run(self, arguments: TaskOutputInput, bench: Workbench, show: Show) -> ToolResult:
        job = bench.jobs.get(arguments.task_id)
        if job is None or job.stopped:
            return _missing(arguments.task_id)
        if job.process.exit is not None or not arguments.block:
            return await _report(bench, job, "not_ready" if job.process.exit is None else "success")
        try:
            async with asyncio.timeout(arguments.timeout / 1000):
                await job.process.wait()
        except TimeoutError:
            return await _report(bench, job, "timeout")
        return await _report(bench, job, "success")


class TaskStop(Tool[TaskStopInput]):
    name = "TaskStop"
    effect = Effect.EXECUTE
    input_type = TaskStopInput

    def owns(self, arguments: TaskStopInput, bench: Workbench) -> bool:
        return (arguments.task_id or arguments.shell_id) in bench.jobs

    def headline(self, arguments: TaskStopInput) -> str:
        return arguments.task_id or arguments.shell_id or ""

    async def run(self, arguments: TaskStopInput, bench: Workbench, show: Show) -> ToolResult:
        task_id = arguments.task_id or arguments.shell_id
        if not task_id:
            return ToolResult(tool_use_error("Missing required parameter: task_id"), is_error=True)
        return await stop_job(bench, task_id)


async def stop_job(bench: Workbench, task_id: str) -> ToolResult:
    """Kill the job's whole process tree."""
    job = bench.jobs.get(task_id)
    if job is None or job.stopped or (job.process.exit is not None and job.reported):
        return _missing(task_id)
    job.stopped = True
    await job.process.kill()
    answer = {
        "message": f"Successfully stopped task: {job.id} ({job.command})",
        "task_id": job.id,
        "task_type": "local_bash",
        "command": job.command,
    }
    return ToolResult(msgspec.json.encode(answer).decode(), facts={"job": job.id})


class BashOutput(Tool[BashOutputInput]):
    """The companion of older clients; `filter` keeps the lines that contain the text."""

    name = "BashOutput"
    effect = Effect.READ
    input_type = BashOutputInput

    def headline(self, arguments: BashOutputInput) -> str:
        return arguments.bash_id

    async def run(self, arguments: BashOutputInput, bench: Workbench, show: Show) -> ToolResult:
        job = bench.jobs.get(arguments.bash_id)
        if job is None:
            return _missing(arguments.bash_id)
        output = await _output(bench, job)
        if arguments.filter:
            # Compared as plain text: a pattern from outside could keep the gateway busy for ever.
            output = "\n".join(line for line in output.split("\n") if arguments.filter in line)
        status = "running" if job.process.exit is None else "completed"
        return ToolResult(f"<status>{status}</status>\n\n<stdout>\n{output.rstrip()}\n</stdout>")


class KillShell(Tool[KillShellInput]):
    name = "KillShell"
    effect = Effect.EXECUTE
    input_type = KillShellInput

    def headline(self, arguments: KillShellInput) -> str:
        return arguments.shell_id

    async def run(self, arguments: KillShellInput, bench: Workbench, show: Show) -> ToolResult:
        return await stop_job(bench, arguments.shell_id)
