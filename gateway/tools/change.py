"""Write and Edit, carried out by the toolhost inside the sandbox.

The toolhost refuses everything outside the workspace, the sandbox's own /tmp and home, never follows a link
out of them, and refuses to change a file that is not as the model last saw it.
"""

from __future__ import annotations

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.toolhost import Version
from gateway.tools.base import Effect, Show, Tool, ToolResult
from gateway.tools.inputs import EditInput, WriteInput
from gateway.tools.paths import absolute, explained, refused
from gateway.tools.workbench import Workbench

_IN_CONTEXT = "(file state is current in your context — no need to Read it back)"


class Write(Tool[WriteInput]):
    name = "Write"
    effect = Effect.WRITE
    input_type = WriteInput

    def headline(self, arguments: WriteInput) -> str:
        return arguments.file_path

    async def run(self, arguments: WriteInput, bench: Workbench, show: Show) -> ToolResult:
        path = absolute(bench, arguments.file_path)
        data = arguments.content.encode(errors="replace")
        try:
            expect = await _expectation(bench, path)
            written = await bench.toolhost.write(path, data, expect=expect)
        except ToolhostError as error:
            return _change_refused(bench, path, error)
        bench.seen[path] = Version(written.mtime_ns, written.size)
        facts = {"path": path, "bytes": len(data), "created": written.created}
        shown = f"{len(arguments.content.splitlines())} lines written"
        if written.created:
            return ToolResult(
                f"File created successfully at: {arguments.file_path} {_IN_CONTEXT}", facts=facts, shown=shown
            )
        text = f"The file {arguments.file_path} has been updated successfully. {_IN_CONTEXT}"
        return ToolResult(text, facts=facts, shown=shown)


class Edit(Tool[EditInput]):
    name = "Edit"
    effect = Effect.WRITE
    input_type = EditInput

    def headline(self, arguments: EditInput) -> str:
        return arguments.file_path

    async def run(self, arguments: EditInput, bench: Workbench, show: Show) -> ToolResult:
        path = absolute(bench, arguments.file_path)
        if arguments.old_string == arguments.new_string:
            return refused("No changes to make: old_string and new_string are exactly the same.")
        if path.endswith(".ipynb"):
            return refused("File is a Jupyter Notebook. Use the NotebookEdit to edit this file.")
        try:
            if not arguments.old_string:
                return await _create(arguments, bench, path)
            expect = await _expectation(bench, path, must_exist=True)
            edited = await bench.toolhost.edit(
                path,
                arguments.old_string,
                arguments.new_string,
                replace_all=arguments.replace_all,
                expect=expect,
            )
        except ToolhostError as error:
            return _edit_refused(arguments, bench, path, error)
        bench.seen[path] = Version(edited.mtime_ns, edited.size)
        done = (
            "has been updated. All occurrences were successfully replaced."
            if arguments.replace_all
            else "has been updated successfully."
        )
        return ToolResult(
            f"The file {arguments.file_path} {done} {_IN_CONTEXT}",
            facts={"path": path, "replaced": edited.count, "bytes": edited.size},
            shown=_diff(arguments.old_string, arguments.new_string),
        )


async def _create(arguments: EditInput, bench: Workbench, path: str) -> ToolResult:
    """An empty `old_string` creates the file, or fills an empty one."""
    try:
        stat = await bench.toolhost.stat(path)
    except ToolhostError as error:
        if error.reason != "not_found":
            raise
    else:
        if stat.size > 0:
            return refused("Cannot create new file - file already exists.")
    written = await bench.toolhost.write(path, arguments.new_string.encode(errors="replace"))
    bench.seen[path] = Version(written.mtime_ns, written.size)
    return ToolResult(
        f"The file {arguments.file_path} has been updated successfully. {_IN_CONTEXT}",
        facts={"path": path, "bytes": written.size, "created": written.created},
        shown=_diff("", arguments.new_string),
    )


async def _expectation(bench: Workbench, path: str, *, must_exist: bool = False) -> Version | None:
    """The state the file must still be in. A file that exists must have been read before it is changed."""
    seen = bench.seen.get(path)
    if seen is not None:
        return seen
    try:
        stat = await bench.toolhost.stat(path)
    except ToolhostError as error:
        if error.reason == "not_found" and not must_exist:
            return None
        raise
    if stat.kind == "dir":
        raise ToolhostError("is_directory", f"{path} is a directory", {})
    raise ToolhostError("unread", "read it first", {})


def _change_refused(bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    """Why a file was not changed; it is as it was."""
    if error.reason == "unread":
        return refused("File has not been read yet. Read it first before writing to it.")
    if error.reason == "stale":
        bench.seen.pop(path, None)
        return refused(
            "File has been modified since read, either by the user or by a linter. Read it again before "
            "attempting to write it."
        )
    if error.reason == "is_directory":
        return refused(
            f"{path} is a directory, not a file. To create a file inside it, include the file name in file_path."
        )
    return explained(bench, path, error)


def _edit_refused(arguments: EditInput, bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    if error.reason == "no_match":
        return refused(f"String to replace not found in file.\nString: {arguments.old_string}")
    if error.reason == "ambiguous":
        return refused(
            f"Found {error.data.get('count')} matches of the string to replace, but replace_all is false. To "
            "replace all occurrences, set replace_all to true. To replace only one occurrence, please provide "
            f"more context to uniquely identify the instance.\nString: {arguments.old_string}"
        )
    if error.reason == "not_found":
        return refused(f"File does not exist. Note: your current working directory is {bench.directory}.")
    return _change_refused(bench, path, error)


def _diff(old: str, new: str) -> str:
    """What changed, for a person: removed lines, then added ones."""
    removed = [f"-{line}" for line in old.splitlines()]
    added = [f"+{line}" for line in new.splitlines()]
    return "\n".join([*removed, *added])
