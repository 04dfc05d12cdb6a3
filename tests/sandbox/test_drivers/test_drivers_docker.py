"""What the docker driver promises beyond the conformance suite."""

import asyncio
import subprocess
from pathlib import Path

import docker
import pytest
from driver_boxes import OpenBox, give_away, leftovers

from gateway.broker.errors import Refused
from gateway.broker.process import BrokerProcess
from gateway.broker.profile import Profile
from gateway.sandbox.channel import Channel
from gateway.sandbox.docker import DockerDriver
from gateway.sandbox.driver import SandboxSpec, Workspace
from gateway.sandbox.errors import SandboxGone, SandboxUnavailable, WorkspaceRefused
from gateway.sandbox.stream import ByteStream
from gateway.sandbox.toolhost import Toolhost

pytestmark = pytest.mark.engine

SCRATCH = Workspace("scratch")

PROBES = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    print(name, "allowed" if result >= 0 else os.strerror(ctypes.get_errno()))
def family(name, *args):
    try:
        socket.socket(*args).close()
        print(name, "allowed")
    except OSError as error:
        print(name, error.strerror)
call("io_uring_setup", 425, 1, 0)
call("userfaultfd", 323, 0)
call("memfd_secret", 447, 0)
call("bpf", 321, 0, 0, 0)
call("ptrace", 101, 16, os.getppid(), 0, 0)
call("process_vm_readv", 310, 1, 0, 0, 0, 0, 0)
call("pidfd_getfd", 438, 3, 0, 0)
call("keyctl", 250, 0, -1, 0)
call("add_key", 248, b"user", b"x", b"y", 1, -1)
call("modify_ldt", 154, 0, 0, 0)
call("perf_event_open", 298, 0, 0, -1, -1, 0)
call("unshare", 272, 0x10000000)
call("clone", 56, 0x10000000 | 17, 0, 0, 0, 0)
call("setns", 308, 0, 0)
call("mount", 165, 0, 0, 0, 0, 0)
call("open_by_handle_at", 304, 0, 0, 0)
call("prlimit64", 302, 1, 7, 0, 0)
call("chroot", 161, b"/tmp")
call("kexec_load", 246, 0, 0, 0, 0)
family("AF_VSOCK", 40, socket.SOCK_STREAM)
family("AF_PACKET", 17, socket.SOCK_RAW)
family("AF_ALG", 38, socket.SOCK_SEQPACKET)
family("AF_BLUETOOTH", 31, socket.SOCK_STREAM)
family("AF_XDP", 44, socket.SOCK_RAW)
family("NETLINK_NETFILTER", 16, socket.SOCK_RAW, 12)
family("NETLINK_AUDIT", 16, socket.SOCK_RAW, 9)
family("SCTP", 2, socket.SOCK_SEQPACKET, 132)
family("raw INET", 2, socket.SOCK_RAW, 1)
"""

ALLOWED = """
import socket, multiprocessing, threading, tempfile, resource
for args in ((1, 1, 0), (2, 1, 0), (2, 2, 0), (10, 1, 0), (10, 2, 17), (16, 3, 0)):
    socket.socket(*args).close()
socket.socketpair()
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
queue = multiprocessing.Queue(); queue.put(1); assert queue.get() == 1
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print("works")
"""


async def test_calls_and_sockets_that_a_build_does_not_need_fail(
    docker_driver: DockerDriver, open_box: OpenBox
) -> None:
    box = await open_box(docker_driver, SCRATCH)
    code, output = await box.python(PROBES)
    assert code == 0, output
    lines = output.splitlines()
    assert len(lines) == 28
    for line in lines:
        assert line.endswith(("Operation not permitted", "Function not implemented")), line


async def test_what_builds_and_tests_need_works(docker_driver: DockerDriver, open_box: OpenBox) -> None:
    box = await open_box(docker_driver, SCRATCH)
    assert await box.python(ALLOWED) == (0, "works\n")
    script = (
        "git init -q . && git config user.email a@b.example && git config user.name a && echo x > f && git add f && "
        "git commit -q -m one && git log --oneline | wc -l && mkfifo p && ls -l p | cut -c1"
    )
    assert await box.run("sh", "-c", script) == (0, "1\np\n")


async def test_a_compiler_works_where_the_image_has_one(docker_driver: DockerDriver, open_box: OpenBox) -> None:
    box = await open_box(docker_driver, SCRATCH)
    program = "printf 'int main(){return 7;}' > a.c && gcc -pthread a.c -o a && ./a"
    code, _ = await box.run("sh", "-c", f"command -v gcc >/dev/null || exit 7; {program}")
    assert code == 7


async def test_kernel_facts_are_hidden(docker_driver: DockerDriver, open_box: OpenBox) -> None:
    box = await open_box(docker_driver, SCRATCH)
    for path in (
        "/proc/cmdline",
        "/proc/kallsyms",
        "/proc/modules",
        "/proc/config.gz",
        "/proc/partitions",
        "/proc/keys",
    ):
        _, output = await box.run("sh", "-c", f"cat {path} 2>/dev/null || true")
        assert output == "", path
    for path in ("/sys/firmware", "/sys/module", "/sys/devices/virtual/dmi", "/sys/block"):
        _, output = await box.run("sh", "-c", f"ls -A {path} 2>/dev/null || true")
        assert output == "", path


async def test_a_memory_bomb_ends_the_child_and_not_the_session(docker_driver: DockerDriver, open_box: OpenBox) -> None:
    box = await open_box(docker_driver, SCRATCH)
    process = await box.toolhost.spawn(["python3", "-c", "b = bytearray(3 << 30)"], cwd="/tmp")
    ended = await asyncio.wait_for(process.wait(), 60)
    assert ended.signal == 9
    assert await box.run("true") == (0, "")


async def test_full_memory_places_together_leave_room_for_the_session(
    docker_driver: DockerDriver, open_box: OpenBox
) -> None:
    box = await open_box(docker_driver, SCRATCH)
    fill = "for d in /tmp /home/agent /dev/shm /run; do head -c 600M /dev/zero > $d/big; done 2>&1 | wc -l"
    assert await box.run("sh", "-c", fill) == (0, "4\n")
    assert await box.run("true") == (0, "")


async def test_a_number_of_files_is_a_limit_too(docker_driver: DockerDriver, open_box: OpenBox) -> None:
    box = await open_box(docker_driver, SCRATCH)
    program = (
        "import errno\nfor n in range(70000):\n try: open(f'/tmp/{n}', 'w').close()\n"
        " except OSError as e: print(e.errno == errno.ENOSPC, n > 60000); break"
    )
    assert await box.python(program) == (0, "True True\n")


async def test_a_copy_shows_the_source_and_leaves_it_alone(
    docker_driver: DockerDriver, open_box: OpenBox, project: Path
) -> None:
    box = await open_box(docker_driver, Workspace("copy", str(project)))
    assert box.sandbox.workspace == str(project)
    assert await box.run("sh", "-c", "cat README; echo more >> README; rm -f README; echo new > made; ls") == (
        0,
        "of the host\nmade\n",
    )
    assert (project / "README").read_text() == "of the host\n"
    assert sorted(path.name for path in project.iterdir()) == ["README"]


async def test_a_copy_of_roots_files_belongs_to_the_sandbox(
    docker_driver: DockerDriver, open_box: OpenBox, projects: Path
) -> None:
    source = projects / "of-root"
    as_root(projects, "mkdir -m 755 of-root && cd of-root && echo x > private && chmod 600 private")
    try:
        box = await open_box(docker_driver, Workspace("copy", str(source)))
        script = "cat private; echo y > private; stat -c %u . private"
        assert await box.run("sh", "-c", script) == (0, "x\n10001\n10001\n")
        assert (source / "private").stat().st_uid == 0
        assert (source / "private").stat().st_size == 2
        as_root(projects, "grep -qx x of-root/private")
    finally:
        as_root(projects, "rm -rf of-root")


def as_root(place: Path, script: str) -> None:
    """Whoever may use the engine can be root in a directory; the tests themselves need not be."""
    command = ["docker", "run", "--rm", "--label", "bulkhead=test", "--network", "none", "--user", "0:0"]
    command += ["--volume", f"{place}:{place}", "--workdir", str(place), "--entrypoint", "sh", Profile().image]
    subprocess.run([*command, "-c", script], check=True, capture_output=True)


async def test_a_copy_needs_a_path_that_overlay_understands(docker_driver: DockerDriver, projects: Path) -> None:
    source = projects / "a:b"
    source.mkdir()
    with pytest.raises(WorkspaceRefused, match="must not contain"):
        await docker_driver.open(SandboxSpec("s", Workspace("copy", str(source))))


async def test_a_link_in_a_protected_place_is_refused(docker_driver: DockerDriver, project: Path) -> None:
    (project / ".claude").symlink_to("/etc")
    with pytest.raises(WorkspaceRefused, match="protected"):
        await docker_driver.open(SandboxSpec("s", Workspace("bind", str(project))))


async def test_a_directory_inside_a_running_workspace_is_refused(
    docker_driver: DockerDriver, open_box: OpenBox, project: Path
) -> None:
    (project / "inner").mkdir()
    give_away(project)
    await open_box(docker_driver, Workspace("bind", str(project)))
    with pytest.raises(WorkspaceRefused, match="lies inside"):
        await docker_driver.open(SandboxSpec("s", Workspace("bind", str(project / "inner"))))


async def test_two_sandboxes_may_share_one_workspace(
    docker_driver: DockerDriver, open_box: OpenBox, project: Path
) -> None:
    one = await open_box(docker_driver, Workspace("bind", str(project)), "one")
    two = await open_box(docker_driver, Workspace("bind", str(project)), "two")
    assert await one.run("sh", "-c", "echo hello > shared") == (0, "")
    assert await two.run("cat", "shared") == (0, "hello\n")


async def test_a_broken_stream_is_attached_again_and_work_goes_on(docker_driver: DockerDriver) -> None:
    sandbox = await docker_driver.open(SandboxSpec("s", SCRATCH))
    streams: list[ByteStream] = []

    async def attach() -> ByteStream:
        streams.append(await sandbox.attach())
        return streams[-1]

    channel = Channel(attach)
    try:
        await channel.start(30)
        process = await Toolhost(channel).spawn(["sh", "-c", "read line; echo got $line"], cwd="/tmp", stdin=True)
        await streams[0].aclose()
        await process.write_stdin(b"it\n", eof=True)
        assert b"".join([data async for _, data in process.output()]) == b"got it\n"
        assert len(streams) == 2
    finally:
        await channel.aclose()
        await sandbox.close()


async def test_a_stream_nobody_reads_does_not_hold_up_the_close(docker_driver: DockerDriver) -> None:
    sandbox = await docker_driver.open(SandboxSpec("s", SCRATCH))
    await asyncio.wait_for(sandbox.close(), 30)


async def test_a_sandbox_that_was_killed_is_gone(docker_driver: DockerDriver) -> None:
    sandbox = await docker_driver.open(SandboxSpec("s", SCRATCH))
    try:
        await sandbox.attach()
        engine = docker.from_env()
        engine.containers.get(sandbox.name).kill()
        engine.close()
        assert not await sandbox.alive()
        with pytest.raises(SandboxGone):
            await sandbox.attach()
    finally:
        await sandbox.close()


async def test_an_open_that_fails_halfway_leaves_nothing(projects: Path, project: Path, gateway_id: str) -> None:
    subprocess.run(
        ["docker", "import", "--change", "LABEL bulkhead=test", "-", "bulkhead/test-empty:latest"],
        input=b"\0" * 10240,
        check=True,
        capture_output=True,
    )
    process = BrokerProcess(
        projects / "b.sock", gateway=gateway_id, roots=[projects], options=["--image", "bulkhead/test-empty:latest"]
    )
    driver = DockerDriver(await process.start())
    try:
        for workspace in (SCRATCH, Workspace("copy", str(project)), Workspace("bind", str(project))):
            with pytest.raises(SandboxUnavailable):
                await driver.open(SandboxSpec("s", workspace))
            assert leftovers(gateway_id) == []
    finally:
        await process.stop()
        subprocess.run(["docker", "rmi", "bulkhead/test-empty:latest"], check=True, capture_output=True)


async def test_a_cancelled_open_is_taken_back(docker_driver: DockerDriver, gateway_id: str) -> None:
    opening = asyncio.create_task(docker_driver.open(SandboxSpec("s", SCRATCH)))
    async with asyncio.timeout(30):
        while not leftovers(gateway_id):
            await asyncio.sleep(0.005)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        while leftovers(gateway_id):
            await asyncio.sleep(0.005)


async def test_reaping_never_touches_another_gateway(
    docker_driver: DockerDriver, open_box: OpenBox, projects: Path
) -> None:
    box = await open_box(docker_driver, SCRATCH)
    other = BrokerProcess(projects / "other.sock", gateway="test-other", roots=[projects])
    client = await other.start()
    try:
        assert await client.reap([]) == []
        for ask in (client.attach, client.inspect):
            with pytest.raises(Refused, match="no sandbox"):
                await ask(f"bulkhead-a-session-{box.sandbox.id}")
        await client.close(f"bulkhead-a-session-{box.sandbox.id}")
    finally:
        await other.stop()
    assert await box.run("true") == (0, "")


async def test_without_its_image_the_driver_does_not_start(projects: Path, gateway_id: str) -> None:
    process = BrokerProcess(projects / "b.sock", gateway=gateway_id, options=["--image", "bulkhead/never-built:latest"])
    driver = DockerDriver(await process.start())
    try:
        with pytest.raises(SandboxUnavailable, match="never-built"):
            await driver.start()
        with pytest.raises(SandboxUnavailable):
            await driver.open(SandboxSpec("s", SCRATCH))
    finally:
        await process.stop()
