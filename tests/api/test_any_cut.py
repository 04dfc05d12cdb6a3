"""A client that loses its connection at any byte and posts the same again: one turn, one run of its tool."""

from __future__ import annotations

import itertools
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gateway import Gateway
from tests.support.hostile_answers import Json, messages_call, messages_text
from tests.support.hostile_checks import check_answer
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, serving
from tests.support.raw_fixtures import raw, upstream, upstream_url
from tests.support.raw_upstream import RawUpstream, chunk, chunked

__all__ = ["raw", "upstream", "upstream_url"]

EXAMPLES = 25
HELD = b"held"
_turn = itertools.count()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, raw: RawUpstream) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with serving(folder, raw.url, BULKHEAD_SANDBOX_DRIVER="bubblewrap", BULKHEAD_GRACE_SECONDS="30") as running:
        yield running


@pytest.fixture(scope="module")
def worker(gateway: Gateway) -> Member:
    return join(gateway)


def play(raw: RawUpstream, name: str) -> None:
    """A call that leaves a line in a file of the turn's own, then a text that is held in its middle."""
    words = messages_text(HELD.decode(), " and let go")
    at = next(at for at, one in enumerate(words) if HELD in one) + 1
    rest = chunk(b"".join(words[at:])) + b"0\r\n\r\n"
    call = chunked(messages_call("Bash", {"command": f"echo ran >> {name}; cat {name}"}))
    raw.play((call,), (chunked(words[:at], end=False), "hold", rest))


def cut(gateway: Gateway, member: Member, body: Json, at: int | None, reset: bool) -> int:
    """Post, read so many bytes (or to what is held), and go. How many came."""
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port or 0), timeout=30) as connection:
        content = json.dumps(body).encode()
        headers = {**member.caller.headers(), "content-length": str(len(content))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"POST /v1/messages HTTP/1.1\r\nhost: g\r\n{head}\r\n".encode() + content)
        got = b""
        while len(got) < at if at is not None else HELD not in got:
            got += connection.recv(65536 if at is None else at - len(got))
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return len(got)


def test_a_turn_cut_at_any_byte_and_posted_again_runs_its_tool_once(
    gateway: Gateway, raw: RawUpstream, worker: Member
) -> None:
    def body(name: str, *, stream: bool) -> Json:
        return asking(f"run {name}", BASH, stream=stream)

    def posted_again(name: str, *, stream: bool) -> Answer:
        return worker.caller.ask(body(name, stream=stream))

    play(raw, "measured")
    whole = cut(gateway, worker, body("measured", stream=True), None, reset=False)
    raw.let_go()
    assert posted_again("measured", stream=False).results == ["ran"]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(
        cuts=st.lists(st.tuples(st.integers(0, whole - 80), st.booleans()), min_size=1, max_size=3),
        streams=st.booleans(),
    )
    def check(cuts: list[tuple[int, bool]], streams: bool) -> None:
        name = f"turn-{next(_turn)}"
        play(raw, name)
        for at, reset in cuts:
            cut(gateway, worker, body(name, stream=True), at, reset)
        raw.let_go()
        answer = posted_again(name, stream=streams)
        check_answer(
            answer.status, answer.headers, answer.body, stream=streams, model="claude-test", hidden=["upstream-secret"]
        )
        assert answer.message["stop_reason"] == "end_turn"
        assert "".join(answer.texts).endswith("held and let go")
        assert (worker.workspace / name).read_text() == "ran\n"
        assert len(gateway.events("turn.start", worker.subject)) == next(_turns)

    _turns = itertools.count(2)
    check()
