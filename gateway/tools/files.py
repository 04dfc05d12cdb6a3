"""Read, Write and Edit, carried out by the toolhost inside the sandbox.

Paths are the client's: absolute, or relative to the shell's directory. The toolhost refuses everything
outside the workspace, the sandbox's own /tmp and home, and never follows a link out of them.
"""

from __future__ import annotations

import base64
import posixpath

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.session import HOME
from gateway.sandbox.toolhost import Version
from gateway.tools.base import Effect, Json, Show, Tool, ToolResult
from gateway.tools.inputs import EditInput, ReadInput, WriteInput
from gateway.tools.notebook import render_notebook
from gateway.tools.texts import tool_use_error
from gateway.tools.workbench import Workbench

READ_BYTES = 256 * 1024
"""Largest file given whole without `limit`."""

READ_TOKENS = 25_000
"""Largest text in tokens, estimated at four characters each."""

MEDIA_BYTES = 20 * 1024 * 1024
"""Largest image or PDF handed to the model."""

_BINARY = frozenset(
    [
        ".7z",
        ".a",
        ".bin",
        ".bz2",
        ".class",
        ".dll",
        ".dylib",
        ".exe",
        ".gz",
        ".jar",
        ".lib",
        ".o",
        ".obj",
        ".pyc",
        ".rar",
        ".so",
        ".tar",
        ".wasm",
        ".war",
        ".whl",
        ".xz",
        ".zip",
    ]
)

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF": "image/webp",
}
_IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})

_IN_CONTEXT = "(file state is current in your context — no need to Read it back)"


def absolute(bench: Workbench, path: str) -> str:
    """The path as the sandbox knows it; nothing is resolved here."""
    if path == "~" or path.startswith("~/"):
        return HOME + path[1:]
    return posixpath.normpath(posixpath.join(bench.directory, path)) if path else bench.directory


def explained(bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    """A refusal of the toolhost in words that help the model on."""
    texts = {
        "not_found": f"File does not exist. Note: your current working directory is {bench.directory}.",
        "is_directory": f"EISDIR: illegal operation on a directory, read '{path}'",
        "not_a_directory": f"ENOTDIR: not a directory, open '{path}'",
        "permission": f"EACCES: permission denied, open '{path}'",
        "outside": (
            f"{path} is outside the sandbox workspace. Files can be used below {bench.root}, /tmp and "
            f"{HOME}; the machine the client runs on cannot be reached from here."
        ),
        "too_large": f"File is too large: {error}",
    }
    text = texts.get(error.reason, f"{path}: {error}")
    wrapped = text if error.reason == "not_found" else tool_use_error(text)
    return ToolResult(wrapped, is_error=True, facts={"reason": error.reason, "path": path})


class Read(Tool[ReadInput]):
    name = "Read"
    effect = Effect.READ
    input_type = ReadInput

    def headline(self, arguments: ReadInput) -> str:
        return arguments.file_path

    async def run(self, arguments: ReadInput, bench: Workbench, show: Show) -> ToolResult:
        path = absolute(bench, arguments.file_path)
        extension = posixpath.splitext(path)[1].lower()
        try:
            if extension in _BINARY:
                return _binary(extension)
            if extension in _IMAGE_EXTENSIONS or extension == ".pdf":
                return await _read_media(bench, path, extension)
            if extension == ".ipynb":
                return await _read_notebook(bench, path)
            return await _read_text(bench, path, arguments)
        except ToolhostError as error:
            return explained(bench, path, error)


async def _read_text(bench: Workbench, path: str, arguments: ReadInput) -> ToolResult:
    asked = max(arguments.offset if arguments.offset is not None else 1, 0)
    first = max(asked, 1)
    if arguments.limit is None:
        stat = await bench.toolhost.stat(path)
        if stat.kind == "file" and stat.size > READ_BYTES:
            return _too_large(stat.size)
    lines = await bench.toolhost.read_lines(
        path, first, arguments.limit or 1_000_000, max_bytes=READ_BYTES * 4
    )
    bench.seen[path] = Version(lines.mtime_ns, lines.size)
    if lines.size == 0:
        return ToolResult(
            _reminder("Warning: the file exists but the contents are empty."), shown="(empty file)"
        )
    if lines.count == 0:
        return ToolResult(
            _reminder(
                f"Warning: the file exists but is shorter than the provided offset ({asked}). "
                f"The file has {lines.total_lines} lines."
            )
        )
    texts = lines.text.split("\n")
    tokens = len(lines.text) // 4
    total = lines.total_lines or lines.first + lines.count - 1
    cut = arguments.limit is None and lines.first + lines.count <= total
    notice = ""
    if tokens > READ_TOKENS or cut:
        if arguments.limit is not None:
            return ToolResult(
                f"File content ({tokens} tokens) exceeds maximum allowed tokens ({READ_TOKENS}). Use offset and "
                "limit parameters to read specific portions of the file, or search for specific content "
                "instead of reading the whole file.",
                is_error=True,
            )
        texts, notice = _first_page(texts, lines.first, total, tokens)
    number = asked
    numbered = "\n".join(f"{number + at}\t{text}" for at, text in enumerate(texts))
    shown = f"{len(texts)} lines"
    return ToolResult(notice + numbered, facts={"path": path, "bytes": len(numbered)}, shown=shown)


def _first_page(texts: list[str], first: int, total: int, tokens: int) -> tuple[list[str], str]:
    room = READ_TOKENS * 4
    kept: list[str] = []
    for text in texts:
        room -= len(text) + 1
        if room < 0 and kept:
            break
        kept.append(text[: READ_TOKENS * 4])
    last = first + len(kept) - 1
    return kept, _reminder(
        f"[Truncated: PARTIAL view — showing lines {first}-{last} of {total} total ({tokens} tokens, cap "
        f"{READ_TOKENS}). Call Read with offset={last + 1} limit={len(kept)} for the next page, or Grep to find a "
        "specific section. Do NOT answer from this page alone if the answer may be further in the file.]"
    ) + "\n\n"


async def _read_media(bench: Workbench, path: str, extension: str) -> ToolResult:
    """Bytes are passed on as they are: only their first few are looked at."""
    stat = await bench.toolhost.stat(path)
    if stat.kind == "file" and stat.size > MEDIA_BYTES:
        return _too_large(stat.size)
    data = bytearray()
    while True:
        chunk = await bench.toolhost.read(path, len(data), 1024 * 1024)
        data += chunk.data
        if chunk.eof or len(data) > MEDIA_BYTES:
            break
    if not data:
        return ToolResult(f"{'PDF' if extension == '.pdf' else 'Image'} file is empty: {path}", is_error=True)
    encoded = base64.b64encode(data).decode()
    if extension == ".pdf":
        if not data.startswith(b"%PDF-"):
            return ToolResult(f"File is not a valid PDF (missing %PDF- header): {path}", is_error=True)
        source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
        title = {"type": "text", "text": f"PDF file read: {path} ({len(data)} bytes)"}
        return ToolResult([title, {"type": "document", "source": source}], shown="(PDF)")
    media_type = next((kind for magic, kind in _IMAGES.items() if data.startswith(magic)), None)
    if media_type is None:
        return ToolResult(
            "File has an image extension but its content is not a valid PNG/JPEG/GIF/WebP. Detected: "
            f"unrecognized bytes (hex: {data[:8].hex(' ')}).",
            is_error=True,
        )
    image: Json = {"type": "image", "source": {"type": "base64", "data": encoded, "media_type": media_type}}
    return ToolResult([image], shown=f"(image, {len(data)} bytes)")


async def _read_notebook(bench: Workbench, path: str) -> ToolResult:
    try:
        notebook = await bench.toolhost.notebook(path)
    except ToolhostError as error:
        if error.reason == "invalid":
            return ToolResult(
                "Notebook file is not valid JSON (it may be truncated, corrupted, or still being written): "
                f"{error}",
                is_error=True,
            )
        raise
    bench.seen[path] = Version(notebook.mtime_ns, notebook.size)
    return ToolResult(render_notebook(notebook.cells), shown=f"{len(notebook.cells)} cells")


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
            return changing_refused(bench, path, error)
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
            return _refused("No changes to make: old_string and new_string are exactly the same.")
        if path.endswith(".ipynb"):
            return _refused("File is a Jupyter Notebook. Use the NotebookEdit to edit this file.")
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
            return _refused("Cannot create new file - file already exists.")
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


def changing_refused(bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    """Why a file was not changed; it is as it was."""
    if error.reason == "unread":
        return _refused("File has not been read yet. Read it first before writing to it.")
    if error.reason == "stale":
        bench.seen.pop(path, None)
        return _refused(
            "File has been modified since read, either by the user or by a linter. Read it again before "
            "attempting to write it."
        )
    if error.reason == "is_directory":
        return _refused(
            f"{path} is a directory, not a file. To create a file inside it, include the file name in file_path."
        )
    return explained(bench, path, error)


def _edit_refused(arguments: EditInput, bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    if error.reason == "no_match":
        return _refused(f"String to replace not found in file.\nString: {arguments.old_string}")
    if error.reason == "ambiguous":
        return _refused(
            f"Found {error.data.get('count')} matches of the string to replace, but replace_all is false. To "
            "replace all occurrences, set replace_all to true. To replace only one occurrence, please provide "
            f"more context to uniquely identify the instance.\nString: {arguments.old_string}"
        )
    if error.reason == "not_found":
        return _refused(f"File does not exist. Note: your current working directory is {bench.directory}.")
    return changing_refused(bench, path, error)


def _refused(text: str) -> ToolResult:
    return ToolResult(tool_use_error(text), is_error=True)


def _reminder(text: str) -> str:
    return f"<system-reminder>{text}</system-reminder>"


def _too_large(size: int) -> ToolResult:
    return ToolResult(
        f"File content ({size // 1024}KB) exceeds maximum allowed size ({READ_BYTES // 1024}KB). Use offset and "
        "limit parameters to read specific portions of the file, or search for specific content instead of "
        "reading the whole file.",
        is_error=True,
    )


def _binary(extension: str) -> ToolResult:
    return _refused(
        f"This tool cannot read binary files. The file appears to be a binary {extension} file. Use a shell "
        "command or script that can read the format."
    )


def _diff(old: str, new: str) -> str:
    """What changed, for a person: removed lines, then added ones."""
    removed = [f"-{line}" for line in old.splitlines()]
    added = [f"+{line}" for line in new.splitlines()]
    return "\n".join([*removed, *added])
