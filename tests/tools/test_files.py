"""Read, Write, Edit and NotebookEdit in a sandbox: texts and rules of the real client's tools."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Put = Callable[[str, bytes | str], Path]

IN_CONTEXT = "(file state is current in your context — no need to Read it back)"
PNG = bytes.fromhex("89504e470d0a1a0a") + b"rest"


def error(text: str) -> str:
    return f"<tool_use_error>{text}</tool_use_error>"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("a\nb\n", "1\ta\n2\tb\n3\t"),
        ("a\nb", "1\ta\n2\tb"),
        ("a\r\nb\r\n", "1\ta\n2\tb\n3\t"),
        (b"\xef\xbb\xbfa", "1\ta"),
        (b"caf\xe9", "1\tcaf\ufffd"),
        ("x" * 5000, "1\t" + "x" * 5000),
    ],
)
async def test_lines_are_numbered_as_the_client_numbers_them(run: Run, put: Put, content: bytes, shown: str) -> None:
    assert (await run("Read", file_path=str(put("a.txt", content)))).content == shown


async def test_a_window_of_lines_can_be_read(run: Run, put: Put) -> None:
    path = str(put("a.txt", "".join(f"l{number}\n" for number in range(1, 13))))
    assert (await run("Read", file_path=path, offset=5, limit=2)).content == "5\tl5\n6\tl6"
    past = await run("Read", file_path=path, offset=100)
    assert past.content == (
        "<system-reminder>Warning: the file exists but is shorter than the provided offset (100). The file has 13 "
        "lines.</system-reminder>"
    )


async def test_more_than_two_thousand_lines_come_whole(run: Run, put: Put) -> None:
    content = (await run("Read", file_path=str(put("a.txt", "x\n" * 2500)))).content
    assert content.endswith("\n2500\tx\n2501\t")


async def test_an_empty_file_is_said_to_be_empty(run: Run, put: Put) -> None:
    assert "contents are empty" in (await run("Read", file_path=str(put("a.txt", "")))).content


async def test_a_relative_path_starts_at_the_shells_directory(run: Run, put: Put) -> None:
    put("sub/a.txt", "hi")
    await run("Bash", command="cd sub")
    assert (await run("Read", file_path="a.txt")).content == "1\thi"


async def test_missing_files_and_directories_are_explained(run: Run, workspace: Path) -> None:
    missing = await run("Read", file_path=str(workspace / "no.txt"))
    assert missing.content == f"File does not exist. Note: your current working directory is {workspace}."
    assert missing.is_error
    directory = await run("Read", file_path=str(workspace))
    assert "EISDIR: illegal operation on a directory" in directory.content


async def test_a_file_too_large_to_read_whole_can_be_read_in_parts(run: Run, put: Put) -> None:
    path = str(put("big.txt", "0123456789abcde\n" * 20_000))
    whole = await run("Read", file_path=path)
    assert whole.content.startswith("File content (312KB) exceeds maximum allowed size (256KB).")
    assert (await run("Read", file_path=path, offset=20_000, limit=1)).content == "20000\t0123456789abcde"


async def test_a_text_of_too_many_tokens_is_given_as_its_first_page(run: Run, put: Put) -> None:
    content = (await run("Read", file_path=str(put("a.txt", ("word " * 20 + "\n") * 2000)))).content
    assert content.startswith("<system-reminder>[Truncated: PARTIAL view — showing lines 1-")
    assert "</system-reminder>\n\n1\tword" in content


@pytest.mark.parametrize("name", ["a.so", "a.zip", "a.pyc"])
async def test_binaries_are_not_read(run: Run, put: Put, name: str) -> None:
    result = await run("Read", file_path=str(put(name, b"\x7fELF")))
    assert "cannot read binary files" in result.content
    assert result.is_error


async def test_an_image_becomes_an_image_block(run: Run, put: Put) -> None:
    (block,) = (await run("Read", file_path=str(put("a.png", PNG)))).content
    assert block["source"]["media_type"] == "image/png"
    not_one = await run("Read", file_path=str(put("b.png", "hello")))
    assert "not a valid PNG/JPEG/GIF/WebP" in not_one.content


async def test_a_pdf_becomes_a_document_block(run: Run, put: Put) -> None:
    title, document = (await run("Read", file_path=str(put("a.pdf", b"%PDF-1.4 x")))).content
    assert title["text"].startswith("PDF file read: ")
    assert document["type"] == "document"


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/1/environ", "/usr/bin/env", "../" * 12 + "etc/passwd"])
async def test_nothing_outside_the_sandboxs_own_places_is_read_or_written(run: Run, path: str) -> None:
    for call in (
        run("Read", file_path=path),
        run("Write", file_path=path, content="x"),
        run("Edit", file_path=path, old_string="a", new_string="b"),
    ):
        result = await call
        assert result.is_error
        assert "outside the sandbox workspace" in result.content


async def test_a_link_out_of_the_workspace_is_not_followed(run: Run, workspace: Path) -> None:
    secret = workspace.parent / "secret.txt"
    secret.write_text("hidden")
    os.symlink("/etc/passwd", workspace / "link")
    os.symlink(secret, workspace / "up")
    for name in ("link", "up"):
        for call in (
            run("Read", file_path=str(workspace / name)),
            run("Write", file_path=str(workspace / name), content="x"),
        ):
            assert (await call).is_error
    assert secret.read_text() == "hidden"


async def test_a_new_file_is_created_with_its_directories(run: Run, workspace: Path) -> None:
    path = str(workspace / "a/b/c.txt")
    result = await run("Write", file_path=path, content="x\ny\n")
    assert result.content == f"File created successfully at: {path} {IN_CONTEXT}"
    assert Path(path).read_text() == "x\ny\n"


async def test_a_file_must_be_read_before_it_is_changed(run: Run, put: Put) -> None:
    path = put("a.txt", "one")
    unread = error("File has not been read yet. Read it first before writing to it.")
    assert (await run("Write", file_path=str(path), content="two")).content == unread
    assert (await run("Edit", file_path=str(path), old_string="one", new_string="two")).content == unread
    assert path.read_text() == "one"
    await run("Read", file_path=str(path))
    written = await run("Write", file_path=str(path), content="two")
    assert written.content == f"The file {path} has been updated successfully. {IN_CONTEXT}"
    assert path.read_text() == "two"


async def test_a_file_that_changed_since_it_was_read_is_not_overwritten(run: Run, put: Put) -> None:
    path = put("a.txt", "one")
    await run("Read", file_path=str(path))
    await run("Bash", command="echo longer-content > a.txt")
    stale = await run("Write", file_path=str(path), content="mine")
    assert "modified since read" in stale.content
    assert path.read_text() == "longer-content\n"


async def test_an_edit_replaces_one_place(run: Run, put: Put) -> None:
    path = put("a.txt", "foo bar\nbaz\n")
    await run("Read", file_path=str(path))
    result = await run("Edit", file_path=str(path), old_string="bar", new_string="qux")
    assert result.content == f"The file {path} has been updated successfully. {IN_CONTEXT}"
    assert result.shown == "-bar\n+qux"
    assert path.read_text() == "foo qux\nbaz\n"


async def test_an_edit_that_is_not_clear_is_refused(run: Run, put: Put) -> None:
    path = put("a.txt", "foo foo foo")
    await run("Read", file_path=str(path))
    many = await run("Edit", file_path=str(path), old_string="foo", new_string="x")
    assert many.content.startswith(
        "<tool_use_error>Found 3 matches of the string to replace, but replace_all is false."
    )
    none = await run("Edit", file_path=str(path), old_string="nope", new_string="x")
    assert none.content == error("String to replace not found in file.\nString: nope")
    same = await run("Edit", file_path=str(path), old_string="foo", new_string="foo")
    assert same.content == error("No changes to make: old_string and new_string are exactly the same.")
    assert path.read_text() == "foo foo foo"


async def test_every_place_can_be_replaced(run: Run, put: Put) -> None:
    path = put("a.txt", "foo foo")
    await run("Read", file_path=str(path))
    result = await run("Edit", file_path=str(path), old_string="foo", new_string="x", replace_all=True)
    assert "All occurrences were successfully replaced." in result.content
    assert path.read_text() == "x x"


async def test_line_ends_of_the_file_are_kept(run: Run, put: Put) -> None:
    path = put("a.txt", b"one\r\ntwo\r\n")
    await run("Read", file_path=str(path))
    await run("Edit", file_path=str(path), old_string="one\ntwo", new_string="1\n2")
    assert path.read_bytes() == b"1\r\n2\r\n"


async def test_an_empty_old_string_creates_a_file_only(run: Run, put: Put, workspace: Path) -> None:
    path = workspace / "new.txt"
    await run("Edit", file_path=str(path), old_string="", new_string="hello")
    assert path.read_text() == "hello"
    taken = await run("Edit", file_path=str(put("b.txt", "x")), old_string="", new_string="y")
    assert taken.content == error("Cannot create new file - file already exists.")


NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [
        {"id": "md1", "cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "text"]},
        {
            "id": "c1",
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": "print('hi')",
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["hi\n"]}],
        },
    ],
}


async def test_a_notebook_is_read_by_cells_and_edited(run: Run, put: Put) -> None:
    path = put("n.ipynb", json.dumps(NOTEBOOK))
    unread = await run("NotebookEdit", notebook_path=str(path), cell_id="c1", new_source="x")
    assert unread.content == error("File has not been read yet. Read it first before writing to it.")
    (block,) = (await run("Read", file_path=str(path))).content
    assert block["text"].startswith(
        '<cell id="md1"><cell_type>markdown</cell_type># Title\ntext</cell id="md1">\n'
        '<cell id="c1">print(\'hi\')</cell id="c1">'
    )
    replaced = await run("NotebookEdit", notebook_path=str(path), cell_id="c1", new_source="print(2)")
    assert replaced.content == "Updated cell c1 with print(2)"
    inserted = await run(
        "NotebookEdit",
        notebook_path=str(path),
        cell_id="c1",
        new_source="# end",
        cell_type="markdown",
        edit_mode="insert",
    )
    assert inserted.content.startswith("Inserted cell ")
    deleted = await run("NotebookEdit", notebook_path=str(path), cell_id="md1", new_source="", edit_mode="delete")
    assert deleted.content == "Deleted cell md1"
    cells = json.loads(path.read_text())["cells"]
    assert [cell["cell_type"] for cell in cells] == ["code", "markdown"]
    assert cells[0]["outputs"] == []
    assert cells[0]["execution_count"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"cell_id": "nope"}, 'Cell with ID "nope" not found in notebook.'),
        ({"cell_id": "cell-99"}, "Cell with index 99 does not exist in notebook."),
        ({}, "Cell ID must be specified when not inserting a new cell."),
        ({"edit_mode": "insert"}, "Cell type is required when using edit_mode=insert."),
    ],
)
async def test_notebook_edits_that_make_no_sense_are_refused(
    run: Run, put: Put, arguments: dict[str, Any], text: str
) -> None:
    path = put("n.ipynb", json.dumps(NOTEBOOK))
    await run("Read", file_path=str(path))
    result = await run("NotebookEdit", notebook_path=str(path), new_source="x", **arguments)
    assert result.content == error(text)


async def test_a_broken_notebook_is_said_to_be_broken(run: Run, put: Put) -> None:
    result = await run("Read", file_path=str(put("n.ipynb", '{"cells": [')))
    assert result.is_error
    assert "not valid JSON" in result.content
