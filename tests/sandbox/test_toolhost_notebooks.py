"""Notebooks are read with their outputs and edited cell by cell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.sandbox.errors import ToolhostError


def notebook(minor: int = 5) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "execution_count": 3,
            "metadata": {"kept": True},
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
                {"output_type": "display_data", "data": {"image/png": "aGk=\n", "text/plain": "fig"}, "metadata": {}},
            ],
        },
    ]
    if minor >= 5:
        cells[0]["id"], cells[1]["id"] = "first", "second"
    return {"cells": cells, "metadata": {"language_info": {"name": "julia"}}, "nbformat": 4, "nbformat_minor": minor}


@pytest.fixture
def book(running: Any) -> Any:
    def place(minor: int = 5) -> str:
        (running.root / "n.ipynb").write_text(json.dumps(notebook(minor), indent=1) + "\n")
        return str(running.path("n.ipynb"))

    return place


async def test_cells_are_read_with_their_outputs(running: Any, book: Any) -> None:
    got = await running.host.notebook(book())
    assert [(c.id, c.type, c.source) for c in got.cells] == [
        ("first", "markdown", "# Title\ntext"),
        ("second", "code", "print(1)"),
    ]
    assert [(o.type, o.text) for o in got.cells[1].outputs] == [
        ("stream", "1\n"),
        ("error", "E: v\nt"),
        ("data", "fig"),
    ]
    assert got.cells[1].outputs[2].image == {"media_type": "image/png", "data": "aGk="}
    assert (got.language, got.total, got.truncated) == ("julia", 2, False)


@pytest.mark.parametrize(("minor", "cell_id"), [(5, "second"), (5, "cell-1"), (4, "cell-1")])
async def test_replacing_code_clears_what_it_had_printed(running: Any, book: Any, minor: int, cell_id: str) -> None:
    path = book(minor)
    before = (running.root / "n.ipynb").read_text().splitlines()
    edited = await running.host.notebook_edit(path, "a = 1\nb", cell_id=cell_id)
    assert edited.cell_id == ("second" if minor == 5 else "cell-1")
    text = (running.root / "n.ipynb").read_text()
    cell = json.loads(text)["cells"][1]
    assert (cell["source"], cell["outputs"], cell["execution_count"]) == (["a = 1\n", "b"], [], None)
    assert cell["metadata"] == {"kept": True}
    assert text.splitlines()[:10] == before[:10]


async def test_inserting_after_a_cell_and_at_the_beginning(running: Any, book: Any) -> None:
    path = book()
    insert = {"edit_mode": "insert"}
    after = await running.host.notebook_edit(path, "x", cell_id="first", cell_type="code", **insert)
    first = await running.host.notebook_edit(path, "y", cell_type="markdown", **insert)
    cells = json.loads((running.root / "n.ipynb").read_text())["cells"]
    assert [cell["id"] for cell in cells] == [first.cell_id, "first", after.cell_id, "second"]
    assert "outputs" not in cells[0]
    assert cells[2]["outputs"] == []


async def test_old_notebooks_get_no_ids(running: Any, book: Any) -> None:
    await running.host.notebook_edit(book(4), "x", cell_type="code", edit_mode="insert")
    assert all("id" not in cell for cell in json.loads((running.root / "n.ipynb").read_text())["cells"])


async def test_deleting_and_changing_the_type(running: Any, book: Any) -> None:
    path = book()
    await running.host.notebook_edit(path, "", cell_id="first", edit_mode="delete")
    await running.host.notebook_edit(path, "text", cell_id="second", cell_type="markdown")
    (cell,) = json.loads((running.root / "n.ipynb").read_text())["cells"]
    assert (cell["cell_type"], cell["id"]) == ("markdown", "second")
    assert "outputs" not in cell and "execution_count" not in cell


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cell_id": "nobody"}, "no_match"),
        ({"cell_id": "cell-9"}, "no_match"),
        ({"edit_mode": "delete"}, "invalid"),
        ({"edit_mode": "insert"}, "invalid"),
        ({"cell_id": "first", "edit_mode": "burn"}, "invalid"),
    ],
)
async def test_impossible_edits_are_refused(running: Any, book: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolhostError) as refused:
        await running.host.notebook_edit(book(), "x", **options)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"cells": 1}', '{"cells": [1]}', "[" * 100_000, '{"cells":[], "a": NaNx}', "\ud83d"]
)
async def test_what_is_no_notebook_is_refused(running: Any, body: str) -> None:
    (running.root / "n.ipynb").write_bytes(body.encode("utf-8", "surrogatepass"))
    with pytest.raises(ToolhostError) as refused:
        await running.host.notebook(running.path("n.ipynb"))
    assert refused.value.reason == "invalid"
    await running.host.ping()


async def test_strange_cells_break_nothing(running: Any) -> None:
    odd_outputs = [1, {"output_type": "stream"}, {"output_type": "execute_result", "data": []}]
    long_output = [{"output_type": "stream", "text": "y" * 200_000}]
    cells = [
        {"cell_type": 5, "source": 7, "outputs": "x"},
        {
            "cell_type": "code",
            "source": [1, "a"],
            "outputs": odd_outputs,
        },
        {
            "id": "x" * 500,
            "cell_type": "code",
            "source": "\ud800",
            "outputs": long_output,
        },
    ]
    (running.root / "n.ipynb").write_text(json.dumps({"cells": cells}))
    got = await running.host.notebook(running.path("n.ipynb"))
    assert [c.type for c in got.cells] == ["raw", "code", "code"]
    assert len(got.cells[2].outputs[0].text) < 70_000
