"""Connections are shared, counted, bounded, and gone when nobody needs them."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from wire_server import OK, Peer, WireServer, turns, until

from gateway.providers.wire import HttpClient, WireError, WireTimeout

Serve = Callable[..., Awaitable[WireServer]]
ClientOf = Callable[..., HttpClient]


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


async def ask(client: HttpClient, url: str) -> bytes:
    async with client.request("POST", url, {}, b"x") as response:
        return await response.body(100)


class Gate:
    """Answers only when opened; `inside` tells how many requests wait."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.inside = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            self.inside += 1
            await self.opened.wait()
            await peer.send(OK)


async def test_requests_one_after_the_other_share_a_connection(serve: Serve, client: HttpClient) -> None:
    server = await serve(always_ok)
    for _ in range(5):
        assert await ask(client, server.url) == b"ok"
        assert (client.open_connections, client.idle) == (1, 1)
    assert server.accepted == 1


async def test_requests_at_the_same_time_do_not_share_and_rest_up_to_the_limit(
    serve: Serve, client_of: ClientOf
) -> None:
    server, client = await serve(always_ok), client_of(idle_connections=2)
    assert await asyncio.gather(*(ask(client, server.url) for _ in range(5))) == [b"ok"] * 5
    assert (server.accepted, client.open_connections, client.idle) == (5, 2, 2)
    await until(lambda: server.here == 2)


async def test_a_resting_connection_expires(serve: Serve, client_of: ClientOf) -> None:
    server, client = await serve(always_ok), client_of(idle_seconds=0.02)
    await ask(client, server.url)
    await until(lambda: client.open_connections == 0)
    await until(lambda: server.here == 0)


async def test_an_expired_connection_is_not_used_even_if_nobody_has_noticed(serve: Serve, client_of: ClientOf) -> None:
    server, client = await serve(always_ok), client_of(idle_seconds=0.0)
    for number in range(1, 4):
        await ask(client, server.url)
        assert server.accepted == number


async def test_a_connection_that_the_server_closes_at_rest_is_forgotten(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    server = await serve(play)
    await ask(client, server.url)
    await until(lambda: client.open_connections == 0)
    assert await ask(client, server.url) == b"ok"


async def test_bytes_nobody_asked_for_cost_a_resting_connection(serve: Serve, client: HttpClient) -> None:
    rests = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await rests.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.left()

    server = await serve(play)
    await ask(client, server.url)
    assert client.idle == 1
    rests.set()
    await until(lambda: client.open_connections == 0)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_kept_connection_that_is_dead_costs_no_request(serve: Serve, client: HttpClient, reset: bool) -> None:
    seen = 0

    async def play(peer: Peer) -> None:
        nonlocal seen
        await peer.request()
        seen += 1
        await peer.send(OK)
        if peer.number == 1:
            await peer.request()
            seen += 1
            if reset:
                peer.reset()
            return
        await peer.left()

    server = await serve(play)
    for _ in range(2):
        assert await ask(client, server.url) == b"ok"
    assert (server.accepted, seen) == (2, 3)


async def test_a_kept_connection_that_closes_late_is_not_tried_again(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream may have worked on the request meanwhile."""
    monkeypatch.setattr("gateway.providers.wire.client._STALE_SECONDS", 0.0)

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    server = await serve(play)
    await ask(client, server.url)
    with pytest.raises(WireError):
        await ask(client, server.url)
    assert server.accepted == 1


async def test_a_request_is_sent_at_most_twice(serve: Serve, client: HttpClient) -> None:
    seen = 0

    async def play(peer: Peer) -> None:
        nonlocal seen
        if peer.number == 1:
            await peer.request()
            await peer.send(OK)
        await peer.request()
        seen += 1

    server = await serve(play)
    await ask(client, server.url)
    with pytest.raises(WireError):
        await ask(client, server.url)
    assert (server.accepted, seen, client.open_connections) == (2, 2, 0)


async def test_a_new_connection_that_closes_is_not_tried_again(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()

    server = await serve(play)
    with pytest.raises(WireError):
        await ask(client, server.url)
    assert server.accepted == 1


async def test_a_kept_connection_that_closes_after_a_byte_is_not_tried_again(serve: Serve, client: HttpClient) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"H")

    server = await serve(play)
    await ask(client, server.url)
    with pytest.raises(WireError):
        await ask(client, server.url)
    assert server.accepted == 1


async def test_beyond_the_limit_a_request_waits_for_its_turn(serve: Serve, client_of: ClientOf) -> None:
    gate, client = Gate(), client_of(connections=2)
    server = await serve(gate)
    asking = [asyncio.create_task(ask(client, server.url)) for _ in range(5)]
    await until(lambda: gate.inside == 2)
    await turns(20)
    assert (server.accepted, client.open_connections) == (2, 2)
    gate.opened.set()
    assert await asyncio.gather(*asking) == [b"ok"] * 5
    assert server.accepted == 2


async def test_the_wait_for_a_turn_is_bounded(serve: Serve, client_of: ClientOf) -> None:
    gate, client = Gate(), client_of(connections=1, connect=0.05)
    server = await serve(gate)
    first = asyncio.create_task(ask(client, server.url))
    await until(lambda: gate.inside == 1)
    with pytest.raises(WireTimeout, match="got free"):
        await ask(client, server.url)
    gate.opened.set()
    assert await first == b"ok"


async def test_who_stops_waiting_does_not_take_the_turn_with_it(serve: Serve, client_of: ClientOf) -> None:
    gate, client = Gate(), client_of(connections=1)
    server = await serve(gate)

    async def hand_over() -> None:
        await ask(client, server.url)
        waiting[0].cancel()  # it has been woken, and has not run yet

    first = asyncio.create_task(hand_over())
    await until(lambda: gate.inside == 1)
    waiting = [asyncio.create_task(ask(client, server.url)) for _ in range(3)]
    await turns()
    waiting[1].cancel()  # while it waits
    gate.opened.set()
    await first
    assert await waiting[2] == b"ok"
    assert all(
        isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*waiting[:2], return_exceptions=True)
    )
    assert (client.open_connections, client.idle) == (1, 1)


async def test_a_connection_that_could_not_be_opened_gives_its_turn_on(serve: Serve, client_of: ClientOf) -> None:
    async def never(peer: Peer) -> None:
        await peer.left()

    hangs, works, client = await serve(never), await serve(always_ok), client_of(connections=1)
    first = asyncio.create_task(ask(client, f"https://localhost:{hangs.port}"))
    await until(lambda: hangs.here == 1)
    second = asyncio.create_task(ask(client, works.url))
    await turns()
    first.cancel()
    assert await second == b"ok"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_resting_connection_makes_room_for_another_host(serve: Serve, client_of: ClientOf) -> None:
    one, other, client = await serve(always_ok), await serve(always_ok), client_of(connections=1)
    for server in (one, other, one):
        assert await ask(client, server.url) == b"ok"
        assert client.open_connections == 1
    assert (one.accepted, other.accepted) == (2, 1)


async def test_a_refused_connection_is_an_error_and_leaves_no_place_taken(client_of: ClientOf) -> None:
    client = client_of(connections=1)
    for _ in range(3):
        with pytest.raises(WireError, match="could not connect to localhost:1"):
            await ask(client, "http://localhost:1/")
        assert client.open_connections == 0


@pytest.mark.parametrize("host", ["a" * 70, "a..b"])
async def test_a_name_that_cannot_be_resolved_is_an_error(client: HttpClient, host: str) -> None:
    """Names that no resolver would ask another machine for."""
    with pytest.raises(WireError, match="could not connect"):
        await ask(client, f"http://{host}/")
    assert client.open_connections == 0


async def test_an_ipv6_address_is_reached_in_brackets(serve: Serve, client: HttpClient) -> None:
    heads: list[bytes] = []

    async def play(peer: Peer) -> None:
        heads.append((await peer.request()).head)
        await peer.send(OK)

    server = await serve(play, host="::1")
    assert await ask(client, f"http://[::1]:{server.port}/x") == b"ok"
    assert f"host: [::1]:{server.port}\r\n".encode() in heads[0]


async def test_closing_ends_every_connection_and_tells_its_readers(serve: Serve, client: HttpClient) -> None:
    gate = Gate()
    waits, rests = await serve(gate), await serve(always_ok)
    await ask(client, rests.url)
    asking = asyncio.create_task(ask(client, waits.url))
    await until(lambda: gate.inside == 1)
    await client.aclose()
    with pytest.raises(WireError, match="closed"):
        await asking
    assert client.open_connections == 0
    await client.aclose()
    with pytest.raises(WireError, match="closed"):
        await ask(client, rests.url)
    await until(lambda: rests.here == 0)


async def test_closing_wakes_who_waits_for_a_turn(serve: Serve, client_of: ClientOf) -> None:
    gate, client = Gate(), client_of(connections=1)
    server = await serve(gate)
    asking = [asyncio.create_task(ask(client, server.url)) for _ in range(3)]
    await until(lambda: gate.inside == 1)
    await client.aclose()
    for result in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(result, WireError)
        assert "closed" in result.reason


@pytest.mark.parametrize("moment", range(8))
async def test_closing_while_a_connection_is_being_opened_leaves_none(
    serve: Serve, client: HttpClient, moment: int
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.left()

    server = await serve(play)
    asking = asyncio.create_task(ask(client, server.url))
    await turns(moment)
    await client.aclose()
    with pytest.raises(WireError, match="closed"):
        await asking
    assert client.open_connections == 0
    await until(lambda: server.here == 0)


async def test_the_clock_stops_with_the_last_connection(serve: Serve, client: HttpClient) -> None:
    server = await serve(always_ok)
    async with client.request("GET", server.url, {}):
        clock = client._pool._timer
        assert clock is not None
    assert client._pool._timer is clock
    await client.aclose()
    assert clock.cancelled()
    assert client._pool._timer is None


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_request_cancelled_at_any_moment_leaves_nothing(
    serve: Serve, client_of: ClientOf, secure: bool, request: pytest.FixtureRequest
) -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 3)
        await peer.left()

    tls = request.getfixturevalue("server_tls") if secure else None
    client = client_of(ca_file=request.getfixturevalue("certificate")) if secure else client_of()
    server = await serve(play, tls=tls)
    before = asyncio.all_tasks()
    for moment in range(40):
        asking = asyncio.create_task(ask(client, server.url))
        await turns(moment)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert client.open_connections == 0
        assert client._pool._timer is None
    await until(lambda: server.here == 0 and asyncio.all_tasks() == before)  # the server's handshakes end, too


async def test_many_callers_that_come_and_go_end_at_the_counts_they_began_with(
    serve: Serve, client_of: ClientOf
) -> None:
    """Some read all, some leave early, some are cancelled, against a server that sometimes hangs up."""
    client = client_of(connections=8, idle_connections=4)

    async def play(peer: Peer) -> None:
        for number in range(1, 7):
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n")
            if peer.number % 3 == 0 and number == 3:
                peer.reset()
                return

    server = await serve(play)

    async def caller(number: int) -> None:
        async with client.request("POST", server.url, {}, b"x" * number * 1000) as response:
            pieces = response.chunks()
            first = await anext(pieces)
            if number % 5 == 0:
                return
            assert first + b"".join([piece async for piece in pieces]) == b"ab"

    tasks = [asyncio.create_task(caller(number)) for number in range(200)]
    for number, task in enumerate(tasks):
        if number % 7 == 0:
            await turns(2)
            task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert result is None or isinstance(result, (WireError, asyncio.CancelledError))
    await until(lambda: client.open_connections == client.idle <= 4)
    assert await ask(client, server.url) == b"ab"
    await client.aclose()
    gc.collect()
    await until(lambda: server.here == 0)
