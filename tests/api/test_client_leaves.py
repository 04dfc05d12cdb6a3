"""A client that leaves, at any moment: nothing of its request goes on, and the gateway has room for the next ones.

Watched from outside: the upstream's connections close, and as many requests as fit at a time succeed afterwards.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.hostile_answers import Json, event, messages_call, messages_text
from tests.support.messages_api import BASH, Answer, asking
from tests.support.places import Member, join, serving
from tests.support.processes import until
from tests.support.raw_fixtures import raw, upstream, upstream_url
from tests.support.raw_upstream import Again, RawUpstream, Script, chunk, chunked

__all__ = ["raw", "upstream", "upstream_url"]

ROOM = 4
"""Requests at a time: at the upstream, and of a key."""
GONE_SECONDS = 15.0

BEGUN = chunked(messages_text()[:7], end=False)
DELTA = chunk(event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x" * 1000}))
WHOLE = chunked(messages_text())
CALL = chunked(messages_call("Bash", {"command": "echo $$ > pid; sleep 305"}))

MOMENTS: dict[str, Script] = {
    "before the head": ("hold",),
    "before the body": (BEGUN[: BEGUN.index(b"\r\n\r\n") + 4], "hold"),
    "in the middle": (BEGUN, "hold"),
    "while much comes": (BEGUN, Again(DELTA)),
    "after the last event": (WHOLE.removesuffix(b"0\r\n\r\n"), "hold"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, raw: RawUpstream) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    variables = {
        "BULKHEAD_SANDBOX_DRIVER": "bubblewrap",
        "BULKHEAD_UPSTREAM_CONCURRENCY": str(ROOM),
        "BULKHEAD_KEY_CONCURRENT_REQUESTS": str(ROOM),
        "BULKHEAD_UPSTREAM_ATTEMPTS": "1",
        "BULKHEAD_UPSTREAM_BREAKER_FAILURES": "0",
        "BULKHEAD_GRACE_SECONDS": "0.2",
        "BULKHEAD_HEARTBEAT_SECONDS": "0.3",
    }
    with serving(folder, raw.url, **variables) as running:
        yield running


def connected(gateway: Gateway, member: Member, body: Json, window: int | None = None) -> socket.socket:
    """A connection on which the request has been sent. `window`: bytes that fit into its buffer, if it reads none."""
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", httpx.URL(gateway.url).port or 0))
    content = json.dumps(body).encode()
    headers = {**member.caller.headers(), "content-type": "application/json", "content-length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\n{head}\r\n".encode() + content)
    return connection


def has_room(raw: RawUpstream, member: Member) -> None:
    """Nothing is left at the upstream, and before long `ROOM` requests are served at a time. A slot, a ticket or a
    connection that stayed behind would have the last of them refused, or waiting, for ever."""

    def taken(at: int) -> Answer:
        def asked() -> Answer | None:
            answer = member.caller.ask(asking(f"after {at}", stream=True))
            return None if answer.status in (429, 529) else answer

        return until(asked, "a request to be taken", GONE_SECONDS)

    until(lambda: raw.playing == 0, "the upstream to be left alone", GONE_SECONDS)
    raw.play((BEGUN, "hold", chunk(b"".join(messages_text()[7:])) + b"0\r\n\r\n"))
    with ThreadPoolExecutor(ROOM) as pool:
        asked = [pool.submit(taken, at) for at in range(ROOM)]
        try:
            until(lambda: raw.playing == ROOM, f"{ROOM} requests at a time", GONE_SECONDS)
        finally:
            raw.let_go()
        answers = [one.result() for one in asked]
    assert [answer.events[-1][0] for answer in answers] == ["message_stop"] * ROOM


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "with tools"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_upstream_is_left_when_the_client_leaves(
    moment: str, tools: tuple[Json, ...], stream: bool, gateway: Gateway, raw: RawUpstream
) -> None:
    member = join(gateway)
    raw.play(MOMENTS[moment])
    connections = [connected(gateway, member, asking(f"{moment} {at}", *tools, stream=stream)) for at in range(ROOM)]
    until(lambda: len(raw.asked) == ROOM, "the upstream to be asked")
    if stream and moment in ("in the middle", "while much comes"):
        for connection in connections:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    for connection in connections:
        connection.close()
    has_room(raw, member)


@pytest.mark.parametrize("tools", [(), (BASH,)], ids=["forwarded", "with tools"])
def test_a_client_that_does_not_read_and_then_leaves_holds_nothing(
    tools: tuple[Json, ...], gateway: Gateway, raw: RawUpstream
) -> None:
    """What comes is more than all buffers hold, and signs of life fall due while the client takes none."""
    member = join(gateway)
    raw.play((BEGUN, Again(DELTA, 20_000), "hold"))
    connections = [connected(gateway, member, asking(f"deaf {at}", *tools, stream=True), 4096) for at in range(ROOM)]
    until(lambda: len(raw.asked) == ROOM, "the upstream to be asked")
    for connection in connections:
        assert connection.recv(10) == b"HTTP/1.1 2"
    for connection in connections:
        connection.close()
    has_room(raw, member)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_leaves_while_its_call_runs_ends_it(stream: bool, gateway: Gateway, raw: RawUpstream) -> None:
    member = join(gateway)
    raw.play((CALL,))
    connections = [
        connected(gateway, replace(member, caller=replace(member.caller, session=f"s{at}")), body)
        for at, body in enumerate([asking("call", BASH, stream=stream)] * ROOM)
    ]
    until(lambda: len(gateway.events("tool.intent", member.subject)) == ROOM, "the calls to run")
    for connection in connections:
        connection.close()
    until(lambda: len(gateway.events("tool.result", member.subject)) == ROOM, "the calls to end")
    has_room(raw, member)
    assert {one["outcome"] for one in gateway.events("tool.result", member.subject)} == {"cancelled"}


def test_a_client_that_leaves_before_its_body_is_whole_asks_nobody(gateway: Gateway, raw: RawUpstream) -> None:
    member = join(gateway)
    raw.play((WHOLE,))
    for _ in range(ROOM * 3):
        with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port or 0)) as connection:
            head = "".join(f"{name}: {value}\r\n" for name, value in member.caller.headers().items())
            connection.sendall(f"POST /v1/messages HTTP/1.1\r\nhost: g\r\n{head}content-length: 900\r\n\r\n{{".encode())
    assert raw.asked == []
    has_room(raw, member)


def test_many_clients_that_come_and_go_leave_no_connection_behind(gateway: Gateway, raw: RawUpstream) -> None:
    member = join(gateway)
    raw.play((BEGUN, Again(DELTA)))
    for at in range(40):
        connection = connected(gateway, member, asking(f"gone {at}", stream=True))
        if at % 2:
            connection.recv(100)
        connection.close()
        until(lambda: raw.playing == 0, "the upstream to be left", GONE_SECONDS)
    has_room(raw, member)
    until(lambda: raw.open <= ROOM + 1, "connections to be closed", GONE_SECONDS)


def test_every_call_that_was_announced_is_concluded(gateway: Gateway) -> None:
    """Comes last: what left in the tests before is on record, too."""

    def open_intents() -> list[int]:
        done = {one["intent"] for one in gateway.events("model.result")}
        return [one["seq"] for one in gateway.events("model.call") if one["seq"] not in done]

    until(lambda: not open_intents() or None, "every announced model call to have a result", GONE_SECONDS)
