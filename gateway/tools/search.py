"""Glob and Grep: file names by pattern in the toolhost, contents by ripgrep inside the sandbox."""

from __future__ import annotations

import asyncio
import posixpath
import re

from gateway.sandbox.errors import ToolhostError
from gateway.tools.base import Effect, Show, Tool, ToolResult
from gateway.tools.captured import Captured
from gateway.tools.inputs import GlobInput, GrepInput
from gateway.tools.paths import absolute, explained
from gateway.tools.texts import tool_use_error
from gateway.tools.workbench import Workbench

GLOB_SHOWN = 100
GLOB_FOUND = 10_000
"""Matches counted before a glob gives up counting."""

HEAD_LIMIT = 250
GREP_SECONDS = 60.0
GREP_BYTES = 16 * 1024 * 1024
"""Output of one search before it is stopped."""
RESULT_CHARS = 20_000
COLUMNS = 500

RG_ENV = {"RIPGREP_CONFIG_PATH": ""}


class Glob(Tool[GlobInput]):
    name = "Glob"
    effect = Effect.READ
    input_type = GlobInput

    def headline(self, arguments: GlobInput) -> str:
        return arguments.pattern

    async def run(self, arguments: GlobInput, bench: Workbench, show: Show) -> ToolResult:
        pattern, root = arguments.pattern, absolute(bench, arguments.path or "")
        if pattern.startswith("/"):
            root, pattern = _split_absolute(pattern)
        if "/" not in pattern:
            pattern = f"**/{pattern}"
        try:
            stat = await bench.toolhost.stat(root)
            if stat.kind != "dir":
                return ToolResult(f"Path is not a directory: {arguments.path}", is_error=True)
            found = await bench.toolhost.glob(pattern, root, GLOB_FOUND)
        except ToolhostError as error:
            if error.reason == "not_found":
                note = f"Note: your current working directory is {bench.directory}."
                return ToolResult(f"Directory does not exist: {arguments.path}. {note}", is_error=True)
            return explained(bench, root, error)
        if not found.paths:
            return ToolResult("No files found")
        paths = [_relative(bench, path) for path in reversed(found.paths)]
        text = "\n".join(paths[:GLOB_SHOWN])
        if len(paths) > GLOB_SHOWN:
            more = "more than " if found.truncated else ""
            text += (
                f"\n(Showing {GLOB_SHOWN} of {more}{len(paths)} matching files; {len(paths) - GLOB_SHOWN} more are "
                "not listed. Narrow the pattern or path to see the rest.)"
            )
        return ToolResult(text, facts={"matches": len(paths)})


class Grep(Tool[GrepInput]):
    name = "Grep"
    effect = Effect.READ
    input_type = GrepInput

    def headline(self, arguments: GrepInput) -> str:
        return arguments.pattern

    async def run(self, arguments: GrepInput, bench: Workbench, show: Show) -> ToolResult:
        if arguments.head_limit is not None and arguments.head_limit < 0:
            return ToolResult(
                tool_use_error(
                    f"head_limit must be a whole number of 0 or more, got {int(arguments.head_limit)}. "
                    "Pass 0 for unlimited."
                ),
                is_error=True,
            )
        target = absolute(bench, arguments.path or "")
        try:
            stat = await bench.toolhost.stat(target)
            cwd, scope = (target, []) if stat.kind == "dir" else (posixpath.dirname(target), [target])
            code, output, errors = await _ripgrep(bench, [*_options(arguments), *scope], cwd)
        except ToolhostError as error:
            if error.reason == "not_found":
                note = f"Note: your current working directory is {bench.directory}."
                return ToolResult(f"Path does not exist: {arguments.path}. {note}", is_error=True)
            return explained(bench, target, error)
        if code is None:
            return ToolResult("The search was stopped: it found or took too much. Narrow it.", is_error=True)
        if code > 1 and not output:
            return ToolResult(
                "Search failed — ripgrep rejected the pattern, glob, or file type without searching:\n"
                + errors.rstrip(),
                is_error=True,
            )
        rows = [row for row in output.split("\n") if row]
        if arguments.output_mode == "files_with_matches":
            rows = await _newest_first(bench, cwd, rows)
        prefix = _display_prefix(bench, cwd) if not scope else ""
        rows = [_shown(row, prefix, bench) for row in rows]
        return ToolResult(_rendered(arguments, rows), facts={"rows": len(rows)})


def _options(arguments: GrepInput) -> list[str]:
    options = ["rg", "--no-config", "--hidden", "--glob", "!.git", "--color", "never"]
    options += ["--max-columns", str(COLUMNS), "--sort", "path"]
    if arguments.multiline:
        options += ["--multiline", "--multiline-dotall"]
    if arguments.ignore_case:
        options.append("--ignore-case")
    if arguments.output_mode == "files_with_matches":
        options.append("--files-with-matches")
    elif arguments.output_mode == "count":
        options += ["--count", "--with-filename"]
    else:
        options += _content_options(arguments)
    for glob in re.split(r"[,\s]+(?![^{]*\})", arguments.glob or ""):
        if glob:
            options += ["--glob", glob]
    if arguments.type:
        options += ["--type", arguments.type]
    return [*options, "--regexp", arguments.pattern, "--"]


def _content_options(arguments: GrepInput) -> list[str]:
    options = ["--no-heading"]
    if arguments.line_numbers is not False:
        options.append("--line-number")
    if arguments.only_matching:
        options.append("--only-matching")
    around = arguments.context if arguments.context is not None else arguments.around
    if around is not None:
        options += ["--context", str(max(0, int(around)))]
    else:
        for flag, value in (("--before-context", arguments.before), ("--after-context", arguments.after)):
            if value is not None:
                options += [flag, str(max(0, int(value)))]
    return options


async def _ripgrep(bench: Workbench, argv: list[str], cwd: str) -> tuple[int | None, str, str]:
    """Exit code (None when it had to be stopped), output, and what it said on stderr."""
    try:
        process = await bench.toolhost.spawn(argv, cwd=cwd, env=RG_ENV)
    except ToolhostError as error:
        raise ToolhostError("unsupported", f"ripgrep cannot be started in this sandbox: {error}") from error
    output, errors = Captured(GREP_BYTES), Captured(64 * 1024)
    code: int | None = None
    try:
        async with asyncio.timeout(GREP_SECONDS):
            async for fd, chunk in process.output():
                if not (output if fd == 1 else errors).take(chunk, _silent):
                    break
            else:
                exit_ = await process.wait()
                code = exit_.code if exit_.code is not None else 2
    except TimeoutError:
        code = None
    finally:
        if process.exit is None:
            await asyncio.shield(process.kill())
    return code, output.text(), errors.text()


def _silent(_: str) -> None:
    """Search results are shown when they are complete."""


async def _newest_first(bench: Workbench, cwd: str, rows: list[str]) -> list[str]:
    if len(rows) < 2 or len(rows) > 2000:
        return rows
    times: dict[str, int] = {}
    for row in rows:
        try:
            times[row] = (await bench.toolhost.stat(posixpath.join(cwd, row))).mtime_ns
        except ToolhostError:
            times[row] = 0
    return sorted(rows, key=lambda row: (-times[row], row))


def _rendered(arguments: GrepInput, rows: list[str]) -> str:
    offset = max(0, int(arguments.offset or 0))
    limit = HEAD_LIMIT if arguments.head_limit is None else int(arguments.head_limit)
    shown = rows[offset:] if limit == 0 else rows[offset : offset + limit]
    parts = []
    if limit and offset + limit < len(rows):
        parts.append(f"limit: {limit}")
    if offset:
        parts.append(f"offset: {offset}")
    paging = ", ".join(parts)
    if offset and not shown and rows:
        return f"No entries at this offset. [Showing results with pagination = {paging}]"
    if arguments.output_mode == "files_with_matches":
        if not shown:
            return "No files found"
        head = f"Found {len(shown)} file{'' if len(shown) == 1 else 's'}"
        return "\n".join([f"{head} {paging}".rstrip(), *shown])
    body = _bounded("\n".join(shown) if shown else "No matches found")
    if arguments.output_mode == "count":
        return f"{body}\n\n{_totals(rows)}" + (f" with pagination = {paging}" if paging else "")
    return body + (f"\n\n[Showing results with pagination = {paging}]" if paging else "")


def _bounded(text: str) -> str:
    if len(text) <= RESULT_CHARS:
        return text
    cut = text.rfind("\n", 0, RESULT_CHARS)
    kept = text[: cut if cut > 0 else RESULT_CHARS]
    return f"{kept}\n... [{len(text) - len(kept)} characters not shown; narrow the search or use head_limit and offset]"


def _totals(rows: list[str]) -> str:
    total = sum(int(count) for count in (row.rpartition(":")[2] for row in rows) if count.isdigit())
    return (
        f"Found {total} total occurrence{'' if total == 1 else 's'} across {len(rows)} "
        f"file{'' if len(rows) == 1 else 's'}."
    )


def _display_prefix(bench: Workbench, cwd: str) -> str:
    relative = _relative(bench, cwd)
    return "" if relative == "." else f"{relative}/"


def _shown(row: str, prefix: str, bench: Workbench) -> str:
    if row == "--":
        return row
    return row.replace(f"{bench.directory}/", "", 1) if row.startswith("/") else f"{prefix}{row}"


def _relative(bench: Workbench, path: str) -> str:
    """Relative to the shell's directory where it lies below it, else absolute."""
    if path == bench.directory:
        return "."
    return path.removeprefix(bench.directory.rstrip("/") + "/")


def _split_absolute(pattern: str) -> tuple[str, str]:
    """The part of an absolute pattern before its first wildcard, and the rest."""
    parts = pattern.split("/")
    plain = 0
    while plain < len(parts) - 1 and not re.search(r"[*?\[{]", parts[plain]):
        plain += 1
    return "/".join(parts[:plain]) or "/", "/".join(parts[plain:])
