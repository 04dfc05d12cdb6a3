"""Notebooks: rendering of cells for the model, and NotebookEdit. The file itself is parsed in the sandbox."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.toolhost import Cell, Version
from gateway.tools.base import Effect, Json, Show, Tool, ToolResult
from gateway.tools.inputs import NotebookEditInput
from gateway.tools.texts import tool_use_error
from gateway.tools.workbench import Workbench


def render_notebook(cells: Sequence[Cell]) -> list[Json]:
    """Cells as text with markers, images among the outputs as image blocks."""
    blocks: list[Json] = []
    text = ""
    for at, cell in enumerate(cells):
        kind = "" if cell.type == "code" else f"<cell_type>{cell.type}</cell_type>"
        name = cell.id or f"cell-{at}"
        text += f'{"" if at == 0 else chr(10)}<cell id="{name}">{kind}{cell.source}</cell id="{name}">'
        for output in cell.outputs:
            if output.image is None:
                text += f"\n{output.text}"
                continue
            blocks.append({"type": "text", "text": text})
            blocks.append({"type": "image", "source": {"type": "base64", **output.image}})
            text = ""
    if text or not blocks:
        blocks.append({"type": "text", "text": text or "(the notebook has no cells)"})
    return blocks


class NotebookEdit(Tool[NotebookEditInput]):
    name = "NotebookEdit"
    effect = Effect.WRITE
    input_type = NotebookEditInput

    def headline(self, arguments: NotebookEditInput) -> str:
        return arguments.notebook_path

    async def run(self, arguments: NotebookEditInput, bench: Workbench, show: Show) -> ToolResult:
        path = posixpath.normpath(posixpath.join(bench.directory, arguments.notebook_path))
        mode = arguments.edit_mode or "replace"
        problem = _problem(arguments, path, mode)
        seen = bench.seen.get(path)
        if problem is None and seen is None:
            problem = "File has not been read yet. Read it first before writing to it."
        if problem is not None or seen is None:
            return ToolResult(tool_use_error(problem or ""), is_error=True)
        try:
            edited = await bench.toolhost.notebook_edit(
                path,
                arguments.new_source,
                cell_id=arguments.cell_id or "",
                cell_type=arguments.cell_type or "",
                edit_mode=mode,
                expect=seen,
            )
        except ToolhostError as error:
            return _refused(bench, arguments, path, error)
        bench.seen[path] = Version(edited.mtime_ns, edited.size)
        cell = edited.cell_id
        done = {
            "replace": f"Updated cell {cell} with {arguments.new_source}",
            "insert": f"Inserted cell {cell} with {arguments.new_source}",
            "delete": f"Deleted cell {cell}",
        }
        return ToolResult(done[mode], facts={"path": path, "cell": cell, "mode": mode, "bytes": edited.size})


def _problem(arguments: NotebookEditInput, path: str, mode: str) -> str | None:
    if not path.endswith(".ipynb"):
        return "File must be a Jupyter notebook (.ipynb file). For editing other file types, use the FileEdit tool."
    if mode == "insert" and arguments.cell_type is None:
        return "Cell type is required when using edit_mode=insert."
    if mode != "insert" and not arguments.cell_id:
        return "Cell ID must be specified when not inserting a new cell."
    return None


def _refused(bench: Workbench, arguments: NotebookEditInput, path: str, error: ToolhostError) -> ToolResult:
    if error.reason == "stale":
        bench.seen.pop(path, None)
        text = (
            "File has been modified since read, either by the user or by a linter. Read it again before "
            "attempting to write it."
        )
    elif error.reason == "no_match":
        name = arguments.cell_id or ""
        index = name.removeprefix("cell-")
        text = (
            f"Cell with index {index} does not exist in notebook."
            if name.startswith("cell-") and index.isdigit()
            else f'Cell with ID "{name}" not found in notebook.'
        )
    elif error.reason == "not_found":
        text = f"File does not exist. Note: your current working directory is {bench.directory}."
    else:
        text = f"{path}: {error}"
    return ToolResult(tool_use_error(text), is_error=True, facts={"reason": error.reason, "path": path})
