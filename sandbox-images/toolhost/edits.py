"""edit: replace a piece of text in a file, whatever its line ends and byte order mark, touching nothing else."""

from __future__ import annotations

import files
import lines
from refusal import Params, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from paths import Roots

CONTEXT = 4
SNIPPET_LIMIT = 32 << 10


def _split(payload: bytes) -> tuple[bytes, bytes]:
    if len(payload) < 4:
        raise Refusal("invalid", "payload must hold a length, the old and the new text")
    size = int.from_bytes(payload[:4], "big")
    if size > len(payload) - 4:
        raise Refusal("invalid", "the length of the old text is past the payload")
    old, new = payload[4 : 4 + size], payload[4 + size :]
    try:
        old.decode("utf-8")
        new.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("invalid", "old and new text must be UTF-8") from error
    if not old:
        raise Refusal("invalid", "the old text is empty")
    if old == new:
        raise Refusal("invalid", "old and new text are the same")
    return old, new


def substitute(body: bytes, old: bytes, new: bytes, replace_all: bool) -> tuple[bytes, int, int]:
    """(new body, replacements, offset of the first): LF in `old` matches the ends the file has.

    In a file of mixed ends both forms are tried; each match keeps its own form."""
    if b"\r\n" not in body:
        forms = [(old, new)]
    else:
        crlf_new = new.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        crlf_old = old.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        forms = [(crlf_old, crlf_new)]
        if crlf_old != old:
            forms.append((old, new))
    count = sum(body.count(form) for form, _ in forms)
    if not count:
        raise Refusal("no_match", "the old text does not occur in the file")
    if count > 1 and not replace_all:
        raise Refusal("ambiguous", f"the old text occurs {count} times", count=count)
    first = min(at for at in (body.find(form) for form, _ in forms) if at >= 0)
    for form, replacement in forms:
        body = body.replace(form, replacement)
    return body, count, first


def _snippet(body: bytes, first: int, new_size: int) -> tuple[int, int, bytes]:
    """(line of the change, first line shown, text) of the new body round the first replacement."""
    line = body.count(b"\n", 0, first) + 1
    start = first
    for _ in range(CONTEXT + 1):
        start = body.rfind(b"\n", 0, start)
        if start < 0:
            break
    start += 1
    end = first + new_size
    for _ in range(CONTEXT + 1):
        end = body.find(b"\n", end) + 1
        if not end:
            end = len(body)
            break
    text = body[start : min(end, start + SNIPPET_LIMIT)].decode("utf-8", "replace").replace("\r\n", "\n")
    return line, line - body.count(b"\n", start, first), text.encode("utf-8")


def edit(roots: Roots, params: Params, payload: bytes) -> tuple[dict[str, Any], bytes]:
    path = params.text("path")
    replace_all = params.flag("replace_all")
    expect = params.raw("expect")
    params.done()
    old, new = _split(payload)
    with roots.place(path) as place:
        data, found = files.read_whole(place)
        files.check_expectation(expect, found, path)
        encoding, bom = lines.encoding_of(data[:8192])
        body = data[bom:]
        wide = encoding.startswith("utf-16")
        if wide:
            try:
                body = body.decode(encoding).encode("utf-8")
            except UnicodeError as error:
                raise Refusal("unsupported", f"{path}: broken {encoding}") from error
        changed, count, first = substitute(body, old, new, replace_all)
        line, shown, snippet = _snippet(changed, first, len(new))
        whole = changed.decode("utf-8").encode(encoding) if wide else changed
        if len(whole) + bom > files.WHOLE_LIMIT:
            raise Refusal("too_large", f"{path}: would grow past {files.WHOLE_LIMIT} bytes")
        # What is replaced is what was read, also when the caller did not say what it expects.
        version = {"mtime_ns": found.st_mtime_ns, "size": found.st_size}
        _, written = files.replace(place, data[:bom] + whole, version)
    return {
        "count": count,
        "line": line,
        "first": shown,
        "size": written.st_size,
        "mtime_ns": written.st_mtime_ns,
    }, snippet
