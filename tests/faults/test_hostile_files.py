"""Paths that lead out of the workspace, links, odd bytes and endless output, through the tools of a real sandbox."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.messages_api import BASH, EDIT, GLOB, READ, WRITE, asking
from tests.support.places import Member, join
from tests.support.scenes import bash, call, calls, says, scene

pytestmark = pytest.mark.engine

SECRET = "secret-of-another-workspace"
OUTSIDE = {
    "absolute": "/etc/passwd",
    "dots": "${workdir}/../../../../../etc/passwd",
    "relative dots": "../../../../../../../etc/passwd",
    "toolhost": "/opt/bulkhead/toolhost/main.py",
    "its environment": "/proc/1/environ",
    "its memory": "/proc/self/mem",
    "link to a file": "${workdir}/link-to-file",
    "through a link": "${workdir}/link-to-directory/passwd",
    "link to a link": "${workdir}/link-to-link",
    "link to a neighbour": "${workdir}/link-to-neighbour",
}

SCENES = [
    *(scene(f"read {name}", calls(call("Read", file_path=path)), says("done")) for name, path in OUTSIDE.items()),
    *(
        scene(f"write {name}", calls(call("Write", file_path=path, content="mine now")), says("done"))
        for name, path in OUTSIDE.items()
    ),
    *(
        scene(
            f"edit {name}",
            calls(call("Edit", file_path=path, old_string=SECRET, new_string="mine now")),
            says("done"),
        )
        for name, path in OUTSIDE.items()
    ),
    scene("glob outside", calls(call("Glob", pattern="**/*", path="${workdir}/../..")), says("done")),
    scene("glob links", calls(call("Glob", pattern="**/passwd")), says("done")),
    scene("pipe", calls(call("Read", file_path="${workdir}/pipe")), says("done")),
    scene("device", calls(call("Read", file_path="${workdir}/link-to-zero")), says("done")),
    scene("bytes", calls(bash(r"printf 'a\377\376\000\033[31mz'; head -c 3000 /dev/urandom")), says("done")),
    scene(
        "odd names",
        calls(bash(r"touch $'\377\376' 'a\"b' $'line\nbreak'; ls -b")),
        calls(call("Glob", pattern="*")),
        says("done"),
    ),
    scene("read binary", calls(call("Read", file_path="${workdir}/binary")), says("done")),
    scene("read latin", calls(call("Read", file_path="${workdir}/latin.txt")), says("done")),
    scene("zeros", calls(bash("head -c 10G /dev/zero")), says("done")),
    scene("lines", calls(bash("yes 'a line of no interest'")), says("done")),
    scene("background flood", calls(bash("yes >&2 & echo started; sleep 309")), says("done")),
    scene("still there", calls(bash("echo alive; pgrep -c 'yes|head'")), says("done")),
]
TOOLS = (BASH, READ, WRITE, EDIT, GLOB)


def result_of(prompt: str, member: Member) -> str:
    system = f"Primary working directory: {member.workspace}"
    answer = member.caller.ask(asking(prompt, *TOOLS, system=system))
    assert answer.texts == ["done"], answer.body
    return answer.results[-1]


@pytest.fixture(scope="module")
def lured(gateway: Gateway) -> Member:
    """A workspace full of links that lead out of it."""
    member, neighbour = join(gateway), join(gateway)
    neighbour.write("notes.txt", SECRET)
    (member.workspace / "link-to-file").symlink_to("/etc/passwd")
    (member.workspace / "link-to-directory").symlink_to("/etc")
    (member.workspace / "link-to-link").symlink_to("link-to-file")
    (member.workspace / "link-to-neighbour").symlink_to(neighbour.workspace / "notes.txt")
    (member.workspace / "link-to-zero").symlink_to("/dev/zero")
    return member


@pytest.mark.parametrize("verb", ["read", "write", "edit"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_leads_out_of_the_workspace_is_refused(
    verb: str, name: str, lured: Member, gateway: Gateway
) -> None:
    host_file = Path("/etc/passwd").read_bytes()
    neighbours = (lured.workspace / "link-to-neighbour").readlink()
    result = result_of(f"{verb} {name}", lured)
    assert gateway.events("tool.result", lured.subject)[-1]["outcome"] == "error", result
    assert "root:" not in result and SECRET not in result and "import " not in result
    assert neighbours.read_text() == SECRET
    assert Path("/etc/passwd").read_bytes() == host_file


def test_a_search_neither_leaves_the_workspace_nor_follows_links_out_of_it(lured: Member) -> None:
    assert "notes.txt" not in result_of("glob outside", lured)
    assert "passwd" not in result_of("glob links", lured).replace("**/passwd", "")


def test_a_pipe_and_a_device_are_refused_and_not_waited_for(lured: Member, gateway: Gateway) -> None:
    os.mkfifo(lured.workspace / "pipe")
    for prompt in ("pipe", "device"):
        result_of(prompt, lured)
        assert gateway.events("tool.result", lured.subject)[-1]["outcome"] == "error"


def test_output_that_is_no_text_reaches_the_model_as_text(member: Member) -> None:
    result = result_of("bytes", member)
    assert result.startswith("a\ufffd\ufffd")
    result.encode()


def test_file_names_that_are_no_text_do_no_harm(member: Member) -> None:
    listed = result_of("odd names", member)
    assert 'a\\"b' in listed
    listed.encode()


def test_bytes_that_are_no_text_are_read_with_marks_in_their_place(member: Member) -> None:
    member.write("binary", b"\0\1\2" + bytes(range(128, 256)) * 40)
    member.write("latin.txt", "grün\n".encode("latin-1"))
    assert "\ufffd\ufffd" in result_of("read binary", member)
    assert "gr\ufffdn" in result_of("read latin", member)


def peak_memory(gateway: Gateway) -> int:
    """The most memory the gateway ever had, in MiB."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.parametrize("prompt", ["zeros", "lines"])
def test_endless_output_is_cut_off_and_the_session_lives(prompt: str, member: Member, gateway: Gateway) -> None:
    before = peak_memory(gateway)
    result = result_of(prompt, member)
    assert "The command wrote more than 8 MiB and was stopped" in result
    assert len(result) < 20_000
    assert peak_memory(gateway) - before < 100
    assert "alive\n0" in result_of("still there", member)
    assert len(gateway.events("session.opened", member.subject)) == 1


def test_output_of_a_child_left_behind_is_cut_off_too(member: Member) -> None:
    assert "was stopped" in result_of("background flood", member)
    assert "alive\n0" in result_of("still there", member)
