"""Glob and Grep in a sandbox: what the real client's tools find and how they say it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Put = Callable[[str, bytes | str], Path]


@pytest.fixture
def tree(put: Put) -> Path:
    for at, (name, content) in enumerate(
        {
            "b.py": "def foo():\n    return 1\n",
            "a.py": "import b\nfoo = b.foo\nFOO = 2\n",
            "sub/c.py": "# foo\n",
            "sub/d.txt": "foo foo\nbar\n",
            ".git/config": "foo\n",
        }.items()
    ):
        path = put(name, content)
        os.utime(path, (1_700_000_000 + at, 1_700_000_000 + at))
    return path.parent.parent


async def test_names_are_found_at_every_depth_the_oldest_first(run: Run, tree: Path) -> None:
    assert (await run("Glob", pattern="*.py")).content == "b.py\na.py\nsub/c.py"
    assert (await run("Glob", pattern="sub/?.py")).content == "sub/c.py"
    assert (await run("Glob", pattern=f"{tree}/sub/*")).content == "sub/c.py\nsub/d.txt"
    assert (await run("Glob", pattern="*.rs")).content == "No files found"


async def test_many_names_are_counted(run: Run, put: Put) -> None:
    for number in range(150):
        put(f"f{number}.log", "")
    lines = (await run("Glob", pattern="*.log")).content.splitlines()
    assert len(lines) == 101
    assert lines[-1] == (
        "(Showing 100 of 150 matching files; 50 more are not listed. Narrow the pattern or path to see the rest.)"
    )


async def test_a_path_that_is_no_directory_is_explained(run: Run, tree: Path) -> None:
    assert (await run("Glob", pattern="*", path="nope")).content.startswith("Directory does not exist: nope.")
    assert (await run("Glob", pattern="*", path="a.py")).content == "Path is not a directory: a.py"
    assert (await run("Grep", pattern="x", path="nope")).content.startswith("Path does not exist: nope.")


async def test_files_with_matches_come_newest_first(run: Run, tree: Path) -> None:
    found = await run("Grep", pattern="foo")
    assert found.content == "Found 4 files\nsub/d.txt\nsub/c.py\na.py\nb.py"
    assert (await run("Grep", pattern="zzz")).content == "No files found"
    limited = await run("Grep", pattern="foo", head_limit=1, offset=1)
    assert limited.content == "Found 1 file limit: 1, offset: 1\nsub/c.py"


async def test_lines_are_shown_with_their_numbers(run: Run, tree: Path) -> None:
    found = await run("Grep", pattern="foo", output_mode="content", glob="*.py")
    assert found.content == "a.py:2:foo = b.foo\nb.py:1:def foo():\nsub/c.py:1:# foo"
    bare = await run("Grep", pattern="foo", output_mode="content", path="b.py", __n=False)
    assert bare.content == "def foo():"
    around = await run("Grep", pattern="foo =", output_mode="content", __C=1)
    assert around.content == "a.py-1-import b\na.py:2:foo = b.foo\na.py-3-FOO = 2"
    paged = await run("Grep", pattern="foo", output_mode="content", head_limit=1)
    assert paged.content.endswith("\n\n[Showing results with pagination = limit: 1]")
    assert (await run("Grep", pattern="zzz", output_mode="content")).content == "No matches found"


async def test_matches_are_counted(run: Run, tree: Path) -> None:
    found = await run("Grep", pattern="foo", output_mode="count", path="sub")
    assert found.content == "sub/c.py:1\nsub/d.txt:1\n\nFound 2 total occurrences across 2 files."


async def test_case_type_and_several_lines(run: Run, tree: Path) -> None:
    assert "FOO" in (await run("Grep", pattern="foo = 2", output_mode="content", __i=True)).content
    assert (await run("Grep", pattern="foo", type="py")).content.startswith("Found 3 files")
    assert (await run("Grep", pattern="foo.*bar", multiline=True)).content == "Found 1 file\nsub/d.txt"


async def test_what_ripgrep_rejects_is_an_error(run: Run, tree: Path) -> None:
    broken = await run("Grep", pattern="foo(")
    assert broken.is_error
    assert broken.content.startswith("Search failed — ripgrep rejected the pattern, glob, or file type")
    assert (await run("Grep", pattern="x", type="zzz")).is_error
    assert (await run("Grep", pattern="x", head_limit=-1)).is_error


async def test_a_pattern_that_looks_like_an_option_is_a_pattern(run: Run, put: Put) -> None:
    put("a.txt", "--files\n")
    assert (await run("Grep", pattern="--files", output_mode="content")).content == "a.txt:1:--files"


async def test_search_outside_the_workspace_is_refused(run: Run) -> None:
    for call in (run("Grep", pattern="root", path="/etc"), run("Glob", pattern="/etc/*")):
        result = await call
        assert result.is_error
        assert "outside the sandbox workspace" in result.content
