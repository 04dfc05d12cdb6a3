"""The broker's socket: who may speak, how long, what happens when either side goes away."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker_serving import StartBroker

from gateway.broker import wire
from gateway.broker.__main__ import arguments, profiles_of
from gateway.broker.client import BrokerClient
from gateway.broker.engine import Engine, engine_socket
from gateway.broker.errors import BrokerUnavailable, Refused
from gateway.broker.process import BrokerProcess
from gateway.broker.profile import Profile
from gateway.broker.server import Server
from gateway.broker.service import Broker


def say(path: Path, data: bytes) -> dict[str, object]:
    """Send raw bytes, end the sending side, read the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        answer: dict[str, object] = json.loads(connection.makefile().readline())
        return answer


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"garbage\n", "bad_request"),
        (b"\x00\xff\n", "bad_request"),
        (b'{"verb": "hello"', "bad_request"),
        (b'{"verb": "hello"}\n{"verb": "list"}\n', "bad_request"),
        (b'{"verb": "delete_everything"}\n', "bad_request"),
        (b'{"verb": "open", "session": "s", "workspace": {"mode": "bind", "source": "/etc"}}\n', "workspace"),
        (b'{"verb": "open", "session": "s", "workspace": {"mode": "scratch"}, "profile": "own"}\n', "unknown_profile"),
        (b" " * (wire.MAX_REQUEST + 10) + b"\n", "too_large"),
    ],
    ids=lambda value: str(value[:40]),
)
def test_everything_but_a_request_is_refused_with_a_reason(
    place: Path, start_broker: StartBroker, data: bytes, reason: str
) -> None:
    start_broker()
    answer = say(place / "broker.sock", data)
    assert answer["ok"] is False
    assert answer["reason"] == reason
    assert answer["message"]


def test_every_request_is_logged_as_a_line_of_json(
    place: Path, start_broker: StartBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    start_broker()
    say(place / "broker.sock", b'{"verb": "open", "session": "s-7", "workspace": {"mode": "bind", "source": "/etc"}}\n')
    # The line is written after the answer.
    written = ""
    deadline = time.monotonic() + 10
    while '"verb": "open"' not in written.rpartition("\n")[0] and time.monotonic() < deadline:
        written += capfd.readouterr().err
    entries = [json.loads(line) for line in written.splitlines()]
    entry = next(entry for entry in entries if entry.get("verb") == "open")
    assert (entry["ok"], entry["reason"], entry["session"], entry["uid"]) == (False, "workspace", "s-7", os.geteuid())


def test_the_socket_is_for_its_owner_only(place: Path, start_broker: StartBroker) -> None:
    start_broker()
    assert stat.S_IMODE((place / "broker.sock").stat().st_mode) == 0o600


def test_a_stranger_is_refused_even_where_the_socket_lets_him_in(
    place: Path, start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr("gateway.broker.server.os.geteuid", lambda: own + 1)
        start_broker()
    answer = say(place / "broker.sock", b'{"verb": "list"}\n')
    assert (answer["reason"], answer["message"]) == ("not_allowed", f"uid {own} may not speak to this broker")


async def test_an_absent_engine_is_an_error_and_not_a_wait(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/no-engine")
    process = BrokerProcess(place / "p.sock", gateway="test-engine")
    client = await process.start()
    try:
        for ask in (client.hello, client.images, client.sandboxes):
            with pytest.raises(Refused) as caught:
                await ask()
            assert caught.value.reason == "engine"
    finally:
        await process.stop()


async def test_an_engine_that_never_answers_is_given_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/engine.sock")
    process = BrokerProcess(place / "p.sock", gateway="test-engine", options=["--time-limit", "1"])
    with silent_engine(place / "engine.sock"):
        client = await process.start()
        try:
            with pytest.raises(Refused) as caught:
                await client.hello()
            assert caught.value.reason in ("engine", "timeout")
        finally:
            await process.stop()


async def test_an_absent_broker_is_unavailable(place: Path) -> None:
    with pytest.raises(BrokerUnavailable):
        await BrokerClient(place / "nobody.sock").hello()


async def test_a_broker_that_goes_away_in_the_middle_is_unavailable(place: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"ok": tr')
        writer.close()

    async with await asyncio.start_unix_server(hang_up, place / "b.sock"):
        with pytest.raises(BrokerUnavailable, match="middle"):
            await BrokerClient(place / "b.sock").hello()


async def test_a_broker_that_never_answers_is_unavailable(place: Path) -> None:
    with silent_engine(place / "b.sock"):
        with pytest.raises(BrokerUnavailable, match="did not answer"):
            await BrokerClient(place / "b.sock", time_limit=0.2).hello()


def test_a_second_broker_does_not_take_the_socket_of_the_first(place: Path, start_broker: StartBroker) -> None:
    start_broker()
    second = Server(Broker(Engine(str(place / "no-engine")), "other"), place / "broker.sock")
    with pytest.raises(FileExistsError):
        second.serve()
    assert say(place / "broker.sock", b"x\n")["reason"] == "bad_request"


def test_a_socket_left_by_a_dead_broker_is_replaced(place: Path, start_broker: StartBroker) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(place / "broker.sock"))
    start_broker()
    assert say(place / "broker.sock", b"x\n")["reason"] == "bad_request"


async def test_the_process_ends_with_its_parent(place: Path) -> None:
    process = BrokerProcess(place / "p.sock", gateway="test-process", log=place / "log")
    await process.start()
    await process.stop()
    assert not (place / "p.sock").exists()
    assert json.loads((place / "log").read_text().splitlines()[-1])["event"] == "stopped"


@pytest.mark.parametrize(
    "options",
    [
        ["--profile", "nonsense"],
        ["--allow-root", "/does/not/exist"],
        ["--toolhost", "/does/not/exist"],
        ["--limit", "tea=1"],
        ["--limit", "tmp=2000000000"],
    ],
)
def test_options_that_make_no_sense_end_it_with_a_usage_error(place: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "gateway.broker", "--socket", str(place / "s"), *options]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_limits_can_be_set_and_change_the_digest() -> None:
    options = ["--socket", "/tmp/x", "--limit", "memory=4294967296", "--limit", "cpus=0.5", "--profile", "big=other"]
    profiles = profiles_of(arguments().parse_args(options))
    assert set(profiles) == {"default", "big"}
    for profile in profiles.values():
        assert (profile.limits.memory, profile.limits.cpus) == (4 << 30, 0.5)
        assert profile.digest() != Profile(image=profile.image).digest()


def test_only_a_unix_socket_is_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere/docker.sock")
    assert engine_socket() == "/somewhere/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example:2375")
    with pytest.raises(ValueError, match="unix"):
        engine_socket()


@contextmanager
def silent_engine(path: Path) -> Iterator[None]:
    """Somebody who accepts and says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(16)
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in held:
                connection.close()
