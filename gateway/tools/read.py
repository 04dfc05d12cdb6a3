"""Read: text, images, PDFs and notebooks, read by the toolhost inside the sandbox.

Media are passed on as they are; only their first bytes are looked at here.
"""

from __future__ import annotations

import base64
import posixpath

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.toolhost import Version
from gateway.tools.base import Effect, Json, Show, Tool, ToolResult
from gateway.tools.inputs import ReadInput
from gateway.tools.notebook import render_notebook
from gateway.tools.paths import absolute, explained, refused
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
        path, first, arguments.limit or 1_000_000, max_bytes=READ_BYTES * 4, max_line=READ_TOKENS * 4
    )
    bench.seen[path] = Version(lines.mtime_ns, lines.size)
    texts = lines.text.split("\n")[:-1]
    total = lines.total_lines or lines.first + lines.count - 1
    room = arguments.limit is None or first + arguments.limit > total + 1
    whole = lines.first + lines.count > total
    if lines.final_newline:
        # As an editor counts: what follows the last line end is one more, empty line.
        total += 1
        if whole and room and (texts or first == total):
            texts.append("")
    if lines.size == 0:
        return ToolResult(_reminder("Warning: the file exists but the contents are empty."), shown="(empty file)")
    if not texts:
        return ToolResult(
            _reminder(
                f"Warning: the file exists but is shorter than the provided offset ({asked}). "
                f"The file has {total} lines."
            )
        )
    tokens = len(lines.text) // 4
    notice = ""
    if tokens > READ_TOKENS or (arguments.limit is None and not whole):
        if arguments.limit is not None:
            return ToolResult(
                f"File content ({tokens} tokens) exceeds maximum allowed tokens ({READ_TOKENS}). Use offset and "
                "limit parameters to read specific portions of the file, or search for specific content "
                "instead of reading the whole file.",
                is_error=True,
            )
        texts, notice = _first_page(texts, lines.first, total, tokens)
    numbered = "\n".join(f"{asked + at}\t{text}" for at, text in enumerate(texts))
    return ToolResult(notice + numbered, facts={"path": path, "bytes": len(numbered)}, shown=f"{len(texts)} lines")


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
                f"Notebook file is not valid JSON (it may be truncated, corrupted, or still being written): {error}",
                is_error=True,
            )
        raise
    bench.seen[path] = Version(notebook.mtime_ns, notebook.size)
    return ToolResult(render_notebook(notebook.cells), shown=f"{len(notebook.cells)} cells")


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
    return refused(
        f"This tool cannot read binary files. The file appears to be a binary {extension} file. Use a shell "
        "command or script that can read the format."
    )
