"""The two ends of the forwarding rows: prepared requests, a lean upstream and client, the floor between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks import servers, token_estimate
from benchmarks.forwarding import endurance
from benchmarks.forwarding.cells import SHAPES, Cell, Side, sample
from benchmarks.forwarding.lean_client import LeanClient
from benchmarks.forwarding.lean_upstream import ModelConnection
from benchmarks.forwarding.requests import LARGE_BYTES, MODEL, ask
from gateway.messages.request import MessagesRequest
from gateway.policy import Disposition, disposition_of


@contextlib.asynccontextmanager
async def served(protocol: type[asyncio.Protocol]) -> AsyncIterator[LeanClient]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, contextlib.aclosing(LeanClient(url, "none")) as client:
        yield client


def test_a_large_request_has_the_size_and_the_tools_of_an_agents() -> None:
    body = ask(large=True, stream=True).body()
    assert len(body) in LARGE_BYTES
    request = MessagesRequest.parse(body)
    assert (request.model, request.stream, len(request.tools)) == (MODEL, True, 24)


def test_no_tool_of_a_large_request_is_one_that_the_gateway_runs() -> None:
    request = MessagesRequest.parse(ask(large=True).body())
    for tool in request.tools:
        assert disposition_of(tool.name, claude_code=False, client_tools=()) is Disposition.CLIENT


def test_no_request_is_sent_twice() -> None:
    question = ask()
    assert question.body() != question.body()
    assert json.loads(question.body())["stream"] is False


@pytest.mark.parametrize("shape", ["", "stream", "large", "large_stream"])
async def test_the_client_takes_every_shape_of_answer_whole(shape: str) -> None:
    async with served(ModelConnection) as client:
        times = await client.ask(SHAPES[shape].ask)
    assert 0 < times.first_byte <= times.whole
    assert times.transits == []


async def test_every_paced_delta_tells_how_long_it_was_on_its_way() -> None:
    async with served(ModelConnection) as client:
        times = await client.ask(ask(stream=True, mark="PACED-3"))
    assert len(times.transits) == 3
    assert all(0 <= transit <= times.whole for transit in times.transits)


async def test_a_long_stream_arrives_to_its_last_delta() -> None:
    async with served(ModelConnection) as client:
        times = await client.ask(ask(stream=True, mark=f"BURST-{endurance.EVENTS}"))
    assert times.received > endurance.EVENTS * len('data: {"type":"content_block_delta"}')


async def test_the_memory_of_a_long_stream_is_watched_while_it_runs() -> None:
    async with served(ModelConnection) as client:
        long = await endurance.long_stream(Side(client, os.getpid()))
    assert long.most_mib >= long.before_mib > 0


async def test_a_connection_is_used_again_and_one_that_was_closed_is_not() -> None:
    opened: list[asyncio.BaseTransport] = []

    class Counted(ModelConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            opened.append(transport)
            super().connection_made(transport)

    async with served(Counted) as client:
        await client.ask(ask())
        await client.ask(ask())
        assert len(opened) == 1
        opened[0].close()
        while not opened[0].is_closing() or client.open_connections:
            await asyncio.sleep(0)
        await client.ask(ask())
    assert len(opened) == 2


def answering(answer: bytes) -> type[asyncio.Protocol]:
    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(answer)
            if b"content-length" not in answer:
                self.transport.close()

    return Answering


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nboom", "status 500: b'boom'"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf", "status 200: b'half'"),
    ],
)
async def test_an_answer_that_is_refused_or_not_whole_is_no_sample(answer: bytes, says: str) -> None:
    async with served(answering(answer)) as client:
        with pytest.raises(RuntimeError, match=says):
            await client.ask(ask())


async def test_a_connection_that_breaks_off_is_no_sample() -> None:
    async with served(answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nha")) as client:
        with pytest.raises(ConnectionError):
            await client.ask(ask(stream=True))


async def test_a_cell_has_one_figure_a_round_of_every_side() -> None:
    async with served(ModelConnection) as one, served(ModelConnection) as other:
        sides = {"ours": Side(one, os.getpid()), "theirs": Side(other, os.getpid(), share=0.1)}
        taken = await sample(Cell("stream", 16), sides, rounds=2)
    assert {name: (len(side.whole), len(side.rate), side.requests) for name, side in taken.items()} == {
        "ours": (2, 2, 16 * 8 * 2),
        "theirs": (2, 2, 16 * 2),
    }
    assert all(side.own_cpu_ms > 0 for side in taken.values())


async def test_the_floor_forwards_what_the_upstream_says(tmp_path: Path) -> None:
    async with (
        servers.upstream(tmp_path) as upstream,
        servers.floor(tmp_path, upstream.url) as floor,
        contextlib.aclosing(LeanClient(floor.url, "none")) as client,
        contextlib.aclosing(LeanClient(upstream.url, "none")) as straight,
    ):
        whole = await client.ask(ask())
        streamed = await client.ask(ask(large=True, stream=True))
        paced = await client.ask(ask(stream=True, mark="PACED-2"))
        long = await client.ask(ask(stream=True, mark="BURST-20000"))
        direct = await straight.ask(ask(stream=True, mark="BURST-20000"))
    assert 0 < whole.received < streamed.received
    assert long.received == direct.received
    assert len(paced.transits) == 2


async def test_a_server_that_ends_at_its_start_is_reported_with_what_it_said(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo no such luck >&2; exit 3"]
    with pytest.raises(RuntimeError, match="the thing ended at its start: no such luck"):
        async with servers.run("thing", command, tmp_path, {}, lambda said: None):
            pass


def test_the_estimates_errors_cannot_be_measured_without_the_package_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert token_estimate.main() == 2
    assert "cannot be installed" in capsys.readouterr().err
