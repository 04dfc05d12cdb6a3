"""Files: what is read and written, and that no path leads out of the roots."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.toolhost import Version


async def reason(awaitable: Any) -> str:
    with pytest.raises(ToolhostError) as refused:
        await awaitable
    return refused.value.reason


async def test_a_written_file_is_read_back(running: Any) -> None:
    wanted = bytes(range(256)) * 100
    written = await running.host.write(running.path("a/b/c.bin"), wanted)
    assert (written.created, written.size) == (True, len(wanted))
    got = await running.host.read(running.path("a/b/c.bin"))
    assert (got.data, got.eof, got.size, got.mtime_ns) == (wanted, True, len(wanted), written.mtime_ns)
    part = await running.host.read(running.path("a/b/c.bin"), offset=10, limit=5)
    assert (part.data, part.eof) == (wanted[10:15], False)


async def test_replacing_keeps_the_mode_and_leaves_no_temporary_file(running: Any) -> None:
    (running.root / "run.sh").write_text("old")
    (running.root / "run.sh").chmod(0o751)
    written = await running.host.write(running.path("run.sh"), b"new")
    assert not written.created
    stat = await running.host.stat(running.path("run.sh"))
    assert (stat.kind, stat.size, stat.mode) == ("file", 3, 0o751)
    assert os.listdir(running.root) == ["run.sh"]


async def test_a_write_that_expects_another_version_is_stale(running: Any) -> None:
    path = running.path("f")
    first = await running.host.write(path, b"one", "absent")
    assert await reason(running.host.write(path, b"two", "absent")) == "exists"
    known = Version(first.mtime_ns, first.size)
    (running.root / "f").write_text("changed behind the back")
    assert await reason(running.host.write(path, b"two", known)) == "stale"
    assert await reason(running.host.edit(path, "changed", "x", expect=known)) == "stale"
    assert (running.root / "f").read_text() == "changed behind the back"


async def test_links_are_followed_inside_and_written_through(running: Any) -> None:
    (running.root / "real").mkdir()
    (running.root / "real" / "f").write_text("x")
    (running.root / "to_dir").symlink_to("real")
    (running.root / "absolute").symlink_to(running.root / "real" / "f")
    (running.root / "real" / "up").symlink_to("../absolute")
    (running.root / "dangling").symlink_to("real/new")
    assert (await running.host.read(running.path("to_dir/up"))).data == b"x"
    await running.host.write(running.path("to_dir/up"), b"y")
    assert (running.root / "real" / "f").read_text() == "y"
    assert (running.root / "absolute").is_symlink()
    await running.host.write(running.path("dangling"), b"z")
    assert (running.root / "real" / "new").read_text() == "z"
    assert (await running.host.stat(running.path("to_dir"))).kind == "symlink"
    assert (await running.host.read(running.path("real/../real/./f"))).data == b"y"


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "a/../../outside",
        "link/passwd",
        "deep/../link/passwd",
        "chain",
        "relative",
        "proc/etc/passwd",
        "slashes",
    ],
)
async def test_no_path_leaves_the_root(running: Any, path: str) -> None:
    root = running.root
    (root / "a").mkdir()
    (root / "deep").mkdir()
    (root.parent / "outside").write_text("secret")
    (root / "link").symlink_to("/etc")
    (root / "chain").symlink_to("link/passwd")
    (root / "relative").symlink_to("a/../../outside")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "slashes").symlink_to(f"//{root}/..//outside")
    for attempt in (
        running.host.read(running.path(path)),
        running.host.read_lines(running.path(path)),
        running.host.write(running.path(path), b"x"),
        running.host.edit(running.path(path), "a", "b"),
        running.start("true", output_path=running.path(path)),
    ):
        assert await reason(attempt) == "outside"
    assert (root.parent / "outside").read_text() == "secret"


@pytest.mark.parametrize("path", ["/etc/passwd", "/", "/proc/1/environ", "/proc/self/mem", "/dev/zero", "relative", ""])
async def test_other_places_are_outside(running: Any, path: str) -> None:
    assert await reason(running.host.read(path)) in ("outside", "invalid")


async def test_a_path_that_only_looks_like_the_root_is_outside(running: Any) -> None:
    assert await reason(running.host.read(str(running.root) + "-other/f")) == "outside"


async def test_loops_of_links_are_refused(running: Any) -> None:
    (running.root / "one").symlink_to("two")
    (running.root / "two").symlink_to("one")
    assert await reason(running.host.read(running.path("one"))) == "invalid"


async def test_what_is_no_regular_file_is_refused_without_blocking(running: Any) -> None:
    os.mkfifo(running.root / "fifo")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(running.root)
    server.bind("socket")
    os.chdir(here)
    for name in ("fifo", "socket"):
        for attempt in (
            running.host.read(running.path(name)),
            running.host.read_lines(running.path(name)),
            running.host.write(running.path(name), b"x"),
            running.host.edit(running.path(name), "a", "b"),
        ):
            assert await reason(attempt) == "unsupported"
    server.close()
    assert await reason(running.host.read(running.path("."))) == "is_directory"
    assert await reason(running.host.write(running.path(""), b"")) == "is_directory"
    assert await reason(running.host.read(running.path("none"))) == "not_found"
    assert await reason(running.host.list(running.path("none"))) == "not_found"


async def test_a_directory_swapped_for_a_link_never_leads_out(running: Any) -> None:
    outside = running.root.parent / "victim"
    outside.mkdir()
    outside.chmod(0o777)
    (outside / "f").write_text("secret")
    flip = f"""
import os, ctypes
libc = ctypes.CDLL(None)
os.chdir({str(running.root)!r})
os.makedirs("inside", exist_ok=True)
open("inside/f", "w").write("mine")
os.symlink({str(outside)!r}, "evil")
print("go", flush=True)
while True:
    libc.renameat2(-100, b"inside", -100, b"evil", 2)
"""
    swapper = await running.start("python3", "-c", flip)
    async for _ in swapper.output():
        break
    outcomes: dict[str, int] = {}
    for number in range(1500):
        path = running.path("inside/f")
        try:
            if number % 2:
                await running.host.write(path, b"mine")
                outcome = "written"
            else:
                outcome = (await running.host.read(path)).data.decode()
        except ToolhostError as error:
            outcome = error.reason
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    await swapper.kill()
    assert "secret" not in outcomes
    assert (outside / "f").read_text() == "secret"
    assert os.listdir(outside) == ["f"]
    assert outcomes.keys() >= {"mine", "written", "outside"}


async def test_lines_come_numbered_cut_and_counted(running: Any) -> None:
    (running.root / "f").write_bytes(b"one\r\ntwo\r\n" + b"x" * 3000 + b"\r\nlast \xff")
    got = await running.host.read_lines(running.path("f"), max_line=10)
    assert got.text == "one\ntwo\n" + "x" * 10 + "\nlast �\n"
    assert (got.total_lines, got.first, got.count, got.truncated_lines, got.crlf) == (4, 1, 4, 1, True)
    window = await running.host.read_lines(running.path("f"), offset=2, limit=1)
    assert (window.text, window.count, window.total_lines) == ("two\n", 1, 4)
    beyond = await running.host.read_lines(running.path("f"), offset=9)
    assert (beyond.count, beyond.total_lines) == (0, 4)


@pytest.mark.parametrize("body", [b"", b"a", b"a\n", b"\n\n", b"a\n\nb", b"x" * 300_000 + b"\ny\n", b"q\n" * 200_000])
async def test_lines_agree_with_a_plain_reading(running: Any, body: bytes) -> None:
    (running.root / "f").write_bytes(body)
    lines = body.decode().splitlines()
    got = await running.host.read_lines(running.path("f"), limit=10**6, max_bytes=4 << 20, max_line=10**6)
    assert (got.total_lines, got.text.splitlines()) == (len(lines), lines)
    for offset in (1, 2, len(lines), 150_000):
        window = await running.host.read_lines(
            running.path("f"), offset=max(offset, 1), limit=3, max_line=10**6, max_bytes=1 << 20
        )
        assert window.text.splitlines() == lines[max(offset, 1) - 1 :][:3]
        assert window.total_lines == len(lines)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
async def test_byte_order_marks_are_understood_and_kept(running: Any, encoding: str) -> None:
    mark = {"utf-8-sig": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}[encoding]
    (running.root / "f").write_bytes(mark + "grüße\r\nzwei\r\n".encode(encoding))
    got = await running.host.read_lines(running.path("f"))
    assert (got.text, got.has_bom, got.crlf) == ("grüße\nzwei\n", True, True)
    await running.host.edit(running.path("f"), "grüße\nzwei", "hallo\ndu")
    assert (running.root / "f").read_bytes() == mark + "hallo\r\ndu\r\n".encode(encoding)


async def test_binary_is_named_as_such(running: Any) -> None:
    (running.root / "f").write_bytes(b"\x7fELF\0\0\n")
    assert (await running.host.read_lines(running.path("f"))).encoding == "binary"


async def test_an_edit_changes_one_place_and_shows_it(running: Any) -> None:
    (running.root / "f").write_text("".join(f"line {n}\n" for n in range(1, 21)))
    edited = await running.host.edit(running.path("f"), "line 10\n", "ten\nand more\n")
    assert (edited.count, edited.line, edited.first) == (1, 10, 6)
    assert edited.snippet.startswith("line 6\nline 7\nline 8\nline 9\nten\nand more\nline 11\n")
    with pytest.raises(ToolhostError) as refused:
        await running.host.edit(running.path("f"), "line", "x")
    assert (refused.value.reason, refused.value.data["count"]) == ("ambiguous", 19)
    assert (await running.host.edit(running.path("f"), "line", "x", replace_all=True)).count == 19
    assert await reason(running.host.edit(running.path("f"), "absent", "x")) == "no_match"
    assert await reason(running.host.edit(running.path("f"), "", "x")) == "invalid"
    assert await reason(running.host.edit(running.path("none"), "a", "x")) == "not_found"


async def test_an_edit_keeps_bytes_it_does_not_understand(running: Any) -> None:
    (running.root / "f").write_bytes(b"\xff\xfeq"[1:] + b"\n a\r\nb\n")
    await running.host.edit(running.path("f"), "a\nb", "c\nd")
    assert (running.root / "f").read_bytes() == b"\xfeq\n c\r\nd\n"


async def test_a_directory_is_listed_with_odd_names(running: Any) -> None:
    (running.root / "dir").mkdir()
    (running.root / "f").write_text("abc")
    (running.root / "l").symlink_to("/etc/passwd")
    (running.root / os.fsdecode(b"odd\xff")).write_text("")
    listing = await running.host.list(running.path("."))
    assert {(e.name, e.kind) for e in listing.entries} == {
        ("dir", "dir"),
        ("f", "file"),
        ("l", "symlink"),
        ("odd?", "file"),
    }
    assert (await running.host.list(running.path("."), limit=2)).truncated


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["a.py"]),
        ("**/*.py", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("src/**", ["src/b.py", "src/b.txt", "src/deep/c.py"]),
        ("**/deep/*", ["src/deep/c.py"]),
        ("src/*.{py,txt}", ["src/b.py", "src/b.txt"]),
        ("{a,src/b}.py", ["a.py", "src/b.py"]),
        ("[!a].py", []),
        ("**/[a-c].p?", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("**/.git/*", []),
        ("none", []),
    ],
)
async def test_globs_find_what_they_say(running: Any, pattern: str, found: list[str]) -> None:
    for name in ("a.py", "src/b.py", "src/b.txt", "src/deep/c.py", ".git/x.py"):
        path = running.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (running.root / "loop").symlink_to(".")
    got = await running.host.glob(pattern, str(running.root))
    assert sorted(got.paths) == sorted(running.path(name) for name in found)
    assert not got.truncated


async def test_globs_come_newest_first_and_limited(running: Any) -> None:
    for number in range(5):
        (running.root / f"f{number}").write_text("")
        os.utime(running.root / f"f{number}", ns=(0, number * 10**9))
    got = await running.host.glob("f*", str(running.root), limit=3)
    assert (got.paths, got.truncated) == ([running.path(f"f{n}") for n in (4, 3, 2)], True)


@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "{a,b}" * 30, "**/" * 300 + "x", "[" * 500, "../*", "/etc/*"])
async def test_hostile_patterns_end_quickly_and_block_nobody(running: Any, pattern: str) -> None:
    (running.root / ("a" * 250)).write_text("")
    search = asyncio.create_task(running.host.glob(pattern, str(running.root)))
    await running.host.ping()
    async with asyncio.timeout(10):
        try:
            assert (await search).paths == []
        except ToolhostError as refused:
            assert refused.reason in ("invalid", "outside")


async def test_wrong_parameters_are_refused(running: Any) -> None:
    call = running.channel.call
    for params in ({}, {"path": 1}, {"path": running.path("a\0b")}, {"path": running.path("f"), "extra": 1}):
        assert await reason(call("fs.stat", params)) == "invalid"
    assert await reason(call("fs.read", {"path": running.path("f"), "limit": 2 << 20})) == "invalid"
    assert await reason(call("fs.nothing", {})) == "unsupported"
