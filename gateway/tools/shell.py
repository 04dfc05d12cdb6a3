"""Bash: one command in the session's container, with the texts and limits of Claude Code's own tool."""

from __future__ import annotations

import asyncio
import shlex
import time

from gateway.sandbox.errors import SandboxError, SandboxGone, ToolhostError
from gateway.sandbox.toolhost import Exit, Process
from gateway.tools.background import start_job
from gateway.tools.base import Effect, Prepared, Show, Tool, ToolResult
from gateway.tools.captured import Captured
from gateway.tools.inputs import DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS, BashInput
from gateway.tools.texts import (
    NO_OUTPUT,
    RESULT_CHARS,
    duration,
    middle_cut,
    persisted,
    trimmed,
)
from gateway.tools.workbench import Workbench

# Both streams are one, in the order written. The shell waits for a line before it does anything: it is started while
# the call's intent is on its way to the disk. It reports its directory on descriptor 9 only when the command
# succeeded, so that `cd sub; false` does not move the session.
_SCRIPT = 'read -r || exit; exec </dev/null 2>&1; shopt -u extglob; eval "$1" && pwd -P >&9'
_BACKGROUND_SCRIPT = 'exec 2>&1; shopt -u extglob; eval "$1"'
_GO = b"\n"

COMMAND_ENV = {
    "CLAUDECODE": "1",
    "SHELL": "/bin/bash",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "PAGER": "cat",
}

# Exit status 1 of these means "nothing found" or "differs", not failure.
_ONE_IS_AN_ANSWER = frozenset({"grep", "rg", "diff", "find", "test", "["})

RESULTS_DIRECTORY = "/tmp/bulkhead/tool-results"


class Bash(Tool[BashInput]):
    name = "Bash"
    effect = Effect.EXECUTE
    input_type = BashInput

    def headline(self, arguments: BashInput) -> str:
        return arguments.command

    def prepare(self, arguments: BashInput, bench: Workbench) -> Prepared:
        if arguments.run_in_background:
            return super().prepare(arguments, bench)
        return WaitingShell(arguments, bench)

    async def run(self, arguments: BashInput, bench: Workbench, show: Show) -> ToolResult:
        if not arguments.run_in_background:
            shell = WaitingShell(arguments, bench)
            await shell.begin()
            return await shell.run(show)
        try:
            argv = ["/bin/bash", "-c", _BACKGROUND_SCRIPT, "/bin/bash", arguments.command]
            return await start_job(bench, arguments, argv, COMMAND_ENV)
        except ToolhostError as error:
            return _not_started(bench, error)


class WaitingShell(Prepared):
    """A shell that holds one command and waits for the word to run it."""

    def __init__(self, arguments: BashInput, bench: Workbench) -> None:
        super().__init__(self._run)
        self._arguments = arguments
        self._bench = bench
        self._process: Process | None = None
        self._error: SandboxError | None = None

    async def begin(self) -> None:
        argv = ["/bin/bash", "-c", _SCRIPT, "/bin/bash", self._arguments.command]
        try:
            self._process = await self._bench.toolhost.spawn(
                argv, cwd=self._bench.directory, env=COMMAND_ENV, stdin=True, report=True
            )
        except SandboxError as error:
            self._error = error

    async def drop(self) -> None:
        if self._process is not None:
            await self._process.kill()

    async def _run(self, show: Show) -> ToolResult:
        if isinstance(self._error, ToolhostError):
            return _not_started(self._bench, self._error)
        if self._process is None:
            raise self._error or SandboxGone("the shell was not started")
        return await self._foreground(self._process, show)

    async def _foreground(self, process: Process, show: Show) -> ToolResult:
        arguments, bench = self._arguments, self._bench
        asked = arguments.timeout if arguments.timeout and arguments.timeout > 0 else DEFAULT_TIMEOUT_MS
        timeout_ms = min(asked, MAX_TIMEOUT_MS)
        captured = Captured(bench.output_limit)
        started = time.monotonic()
        exit_: Exit | None = None
        timed_out = False
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                process.send_stdin(_GO, eof=True)
                async for _, chunk in process.output():
                    if not captured.take(chunk, show):
                        break
                else:
                    exit_ = await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            if exit_ is None:
                # Also on cancellation: nothing that this call started may outlive it.
                await asyncio.shield(process.kill())
        facts: dict[str, object] = {
            "duration_ms": round((time.monotonic() - started) * 1000),
            "output_bytes": captured.total,
            "timed_out": timed_out,
        }
        output = captured.text()
        if timed_out:
            reason = f"Command timed out after {duration(timeout_ms)}"
            return _failure(143, "\n".join(filter(None, [reason, output])), facts)
        if exit_ is None:
            reason = (
                f"The command wrote more than {bench.output_limit // (1024 * 1024)} MiB and was stopped "
                "together with everything it had started. Redirect long output to a file."
            )
            return _failure(137, f"{reason}\n{output}", {**facts, "limit": "output_bytes"})
        code = exit_.code if exit_.code is not None else 128 + (exit_.signal or 0)
        facts["exit_code"] = code
        if code != 0 and not (code == 1 and status_one_is_an_answer(arguments.command)):
            return _failure(code, output, facts)
        return await _success(bench, code, captured, exit_, facts)


async def _success(
    bench: Workbench, code: int, captured: Captured, exit_: Exit, facts: dict[str, object]
) -> ToolResult:
    output = captured.text()
    notice = _move(bench, exit_)
    if len(output) > RESULT_CHARS:
        path = f"{RESULTS_DIRECTORY}/{bench.next_id('r')}.txt"
        await bench.toolhost.write(path, captured.kept())
        text = persisted(output, captured.total, path)
    else:
        text = trimmed(output)
    if notice:
        text = f"{text}\n{notice}" if text else notice
    return ToolResult(text or NO_OUTPUT, code=code, facts=facts)


def _failure(code: int, output: str, facts: dict[str, object]) -> ToolResult:
    text = f"Exit code {code}"
    if output.strip():
        text += f"\n{output.rstrip()}"
    return ToolResult(middle_cut(text), is_error=True, code=code, facts={**facts, "exit_code": code})


def _not_started(bench: Workbench, error: ToolhostError) -> ToolResult:
    if error.reason in ("not_found", "not_a_directory"):
        gone, bench.directory = bench.directory, bench.start_directory
        text = (
            f'Working directory "{gone}" no longer exists, so this command was not run. Shell cwd recovered '
            f'to "{bench.directory}": re-issue the command if it still makes sense there.'
        )
    elif error.reason == "limit":
        text = (
            "The sandbox has reached its limit of processes, so this command was not run. Stop background "
            f"jobs or wait until running commands have ended. ({error})"
        )
    else:
        text = f"The command could not be started: {error}"
    return ToolResult(text, is_error=True, facts={"reason": error.reason})


def _move(bench: Workbench, exit_: Exit) -> str:
    """Take over the directory the shell ended in; outside the workspace it goes back to the start."""
    reported = (exit_.report or "").rstrip("\n")
    if not reported.startswith("/"):
        return ""
    if bench.contains(reported):
        bench.directory = reported
        return ""
    bench.directory = bench.start_directory
    return f"Shell cwd was reset to {bench.start_directory}"


def status_one_is_an_answer(command: str) -> bool:
    """Whether the last command of the line is one whose status 1 is an answer."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    last = ""
    start = True
    try:
        for token in lexer:
            if set(token) <= set("|&;()"):
                start = True
            elif start:
                last, start = token, False
    except ValueError:
        return False
    return last in _ONE_IS_AN_ANSWER
