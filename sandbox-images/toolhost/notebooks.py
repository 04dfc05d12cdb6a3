"""Jupyter notebooks: a bounded reading of the cells, and replace / insert / delete of one cell."""

from __future__ import annotations

import os

import files
import wire
from refusal import Params, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from paths import Roots

    Cell = dict[str, Any]

SOURCE_LIMIT = 1 << 20
OUTPUT_LIMIT = 64 << 10
IMAGE_LIMIT = 512 << 10
OUTPUTS_PER_CELL = 64
READ_LIMIT = 7 << 20
CELLS_LIMIT = 500
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TYPES = ("code", "markdown", "raw")


def _text(value: Any, limit: int) -> str:
    """nbformat's multi-line string: one string or a list of them."""
    if type(value) is list:
        value = "".join(part for part in value if type(part) is str)
    if type(value) is not str:
        return ""
    return value if len(value) <= limit else value[:limit] + "\n[cut]"


def _parse(data: bytes, path: str) -> tuple[dict[str, Any], list[Cell], str]:
    try:
        book = wire.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise Refusal("invalid", f"{path}: not a notebook ({error})") from error
    cells = book.get("cells") if type(book) is dict else None
    if type(cells) is not list or any(type(cell) is not dict for cell in cells):
        raise Refusal("invalid", f"{path}: a notebook needs a list of cells (nbformat 4)")
    metadata = book.get("metadata")
    language = "python"
    if type(metadata) is dict:
        for key, name in (("language_info", "name"), ("kernelspec", "language")):
            part = metadata.get(key)
            if type(part) is dict and type(part.get(name)) is str:
                language = part[name][:64]
                break
    return book, cells, language


def _cell_name(cell: Cell, index: int) -> str:
    name = cell.get("id")
    return name[:64] if type(name) is str and name else f"cell-{index}"


def _cell_type(cell: Cell) -> str:
    kind = cell.get("cell_type")
    return kind if kind in _TYPES else "raw"


def _outputs(cell: Cell) -> list[dict[str, Any]]:
    outputs = cell.get("outputs")
    shown: list[dict[str, Any]] = []
    for output in outputs[:OUTPUTS_PER_CELL] if type(outputs) is list else []:
        if type(output) is not dict:
            continue
        kind = output.get("output_type")
        if kind == "stream":
            shown.append({"type": "stream", "text": _text(output.get("text"), OUTPUT_LIMIT)})
        elif kind == "error":
            trace = output.get("traceback")
            joined = "\n".join(line for line in trace if type(line) is str) if type(trace) is list else ""
            head = f"{_text(output.get('ename'), 200)}: {_text(output.get('evalue'), 2000)}"
            shown.append({"type": "error", "text": _text(f"{head}\n{joined}", OUTPUT_LIMIT)})
        elif kind in ("execute_result", "display_data") and type(output.get("data")) is dict:
            shown.append(_rich(output["data"]))
    return shown


def _rich(data: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "data", "text": _text(data.get("text/plain"), OUTPUT_LIMIT)}
    for media in _IMAGES:
        if media in data:
            image = _text(data[media], IMAGE_LIMIT)
            if len(image) <= IMAGE_LIMIT:
                made["image"] = {"media_type": media, "data": "".join(image.split())}
            break
    return made


def read(roots: Roots, params: Params) -> tuple[dict[str, Any], bytes]:
    path = params.text("path")
    params.done()
    with roots.place(path) as place:
        data, found = files.read_whole(place)
    _, cells, language = _parse(data, path)
    summary: list[dict[str, str]] = []
    bodies: list[bytes] = []
    room = READ_LIMIT
    for index, cell in enumerate(cells[:CELLS_LIMIT]):
        name, kind = _cell_name(cell, index), _cell_type(cell)
        body = wire.dumps(
            {"id": name, "type": kind, "source": _text(cell.get("source"), SOURCE_LIMIT), "outputs": _outputs(cell)}
        )
        room -= len(body) + 1
        if room < 0:
            break
        summary.append({"id": name, "type": kind, "language": language if kind == "code" else kind})
        bodies.append(body)
    return {
        "cells": summary,
        "language": language,
        "total": len(cells),
        "truncated": len(bodies) < len(cells),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
    }, b"[" + b",".join(bodies) + b"]"


def _index_of(cells: list[Cell], wanted: str) -> int:
    for index, cell in enumerate(cells):
        if cell.get("id") == wanted:
            return index
    number = wanted.removeprefix("cell-")
    if number != wanted and number.isdecimal() and len(number) < 8 and int(number) < len(cells):
        return int(number)
    raise Refusal("no_match", f"no cell {wanted[:100]!r} in the notebook")


def _has_ids(book: dict[str, Any]) -> bool:
    major, minor = book.get("nbformat"), book.get("nbformat_minor")
    return type(major) is int and type(minor) is int and (major, minor) >= (4, 5)


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True)


def _replace_cell(cell: Cell, kind: str, source: str) -> None:
    cell["source"] = _lines(source)
    kind = kind or _cell_type(cell)
    cell["cell_type"] = kind
    if kind == "code":
        cell["outputs"] = []
        cell["execution_count"] = None
    else:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)


def _new_cell(kind: str, source: str, with_id: bool) -> Cell:
    cell: Cell = {"cell_type": kind, "metadata": {}, "source": _lines(source)}
    if with_id:
        cell["id"] = os.urandom(4).hex()
    if kind == "code":
        cell["outputs"] = []
        cell["execution_count"] = None
    return cell


def edit(roots: Roots, params: Params, payload: bytes) -> dict[str, Any]:
    path = params.text("path")
    cell_id = params.text("cell_id", "", 256)
    kind = params.text("cell_type", "", 16)
    mode = params.text("edit_mode", "replace", 16)
    expect = params.raw("expect")
    params.done()
    if mode not in ("replace", "insert", "delete") or (kind and kind not in _TYPES):
        raise Refusal("invalid", "edit_mode is replace, insert or delete; cell_type is code, markdown or raw")
    try:
        source = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("invalid", "the source must be UTF-8") from error
    with roots.place(path) as place:
        data, found = files.read_whole(place)
        files.check_expectation(expect, found, path)
        book, cells, _ = _parse(data, path)
        index = _apply(book, cells, cell_id, kind, mode, source)
        # One-space indentation is what Jupyter itself writes: the diff shows the edit and nothing else.
        body = wire.dumps_indented(book) + b"\n"
        version = {"mtime_ns": found.st_mtime_ns, "size": found.st_size}
        _, written = files.replace(place, body, version)
    return {"cell_id": index, "size": written.st_size, "mtime_ns": written.st_mtime_ns}


def _apply(book: dict[str, Any], cells: list[Cell], cell_id: str, kind: str, mode: str, source: str) -> str:
    if mode == "insert":
        if not kind:
            raise Refusal("invalid", "an inserted cell needs a cell_type")
        index = _index_of(cells, cell_id) + 1 if cell_id else 0
        cells.insert(index, _new_cell(kind, source, _has_ids(book)))
        return _cell_name(cells[index], index)
    if not cell_id:
        raise Refusal("invalid", f"{mode} needs a cell_id")
    index = _index_of(cells, cell_id)
    name = _cell_name(cells[index], index)
    if mode == "delete":
        del cells[index]
    else:
        _replace_cell(cells[index], kind, source)
    return name
