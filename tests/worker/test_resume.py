"""A session outlives its connection, is resumed by nobody but its own page, and takes no more than it may."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest
from websockets.exceptions import ConnectionClosed

from shiny_sticky.worker.resume import wire
from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, Site
from support.resuming_client import ResumingClient
from support.waiting import PATIENCE

COUNTING = str(APPS / "counting.py")


@pytest.fixture(scope="module")
def site():
    apps = {"app": {"target": COUNTING, "workers": 2}}
    network = {"trusted_proxies": ["127.0.0.1"], "identity_headers": ["X-Forwarded-User"]}
    with Site(apps, resume={"buffer": "100KB", "max_suspended": 3}, **network) as shared:
        yield shared.start()


@pytest.fixture
def network(site):
    with CuttingProxy(site.port) as proxy:
        yield proxy


def numbers(client: ResumingClient) -> list[int]:
    """What the app has counted, as far as it has come."""
    return [int(text) for text in client.received if isinstance(text, str) and text.isdigit()]


async def exchange(client: ResumingClient, sent: int, more: int) -> int:
    """Send some numbers, and wait for some; gives how many have been sent in all."""
    before = len(numbers(client))
    for number in range(sent, sent + more):
        await client.send(str(number))
    await client.until(lambda: len(numbers(client)) >= before + more, "numbers have come")
    return sent + more


async def nothing_is_missing(client: ResumingClient, sent: int) -> None:
    """Compare what was sent with what has come, in both directions."""
    await client.send("report")
    await client.until(lambda: any("taken" in str(text) for text in client.received), "the report has come")
    reports = [json.loads(text) for text in client.received if str(text).startswith("{")]
    assert reports == [{"taken": sent}]
    assert numbers(client) == list(range(len(numbers(client))))


async def is_there(client: ResumingClient) -> bool:
    """Whether the session is there: to somebody who does not know its secret, it is not given."""
    async with client.admission(secret="", next=0) as stranger:
        with pytest.raises(ConnectionClosed):
            while True:
                assert await stranger.recv() == wire.BYE  # if it was the app that has ended it
        return {wire.REFUSED: True, wire.GONE: False}[stranger.close_code]


async def over(client: ResumingClient) -> None:
    """Wait until the session is there no more."""
    async with asyncio.timeout(PATIENCE):
        while await is_there(client):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_what_was_sent_around_a_cut_arrives_once_and_in_order(network, how):
    async def scenario():
        async with ResumingClient(network.port) as client:
            sent = 0
            for _ in range(5):
                sent = await exchange(client, sent, 3)
                await client.send(b"\x01\x02\x03")
                network.cut(how)
                sent = await exchange(client, sent, 2)
            await nothing_is_missing(client, sent)
            assert client.received.count(b"\x03\x02\x01") == 5
            assert len(client.resumed) == 5

    asyncio.run(scenario())


def test_the_app_goes_on_while_nobody_is_connected(network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            sent = await exchange(client, 0, 2)
            network.disconnect("rst")
            sent = sent + 2
            for number in range(sent - 2, sent):
                await client.send(str(number))
            async with asyncio.timeout(PATIENCE):
                while client.connection is not None:
                    await asyncio.sleep(0.01)
            before = len(client.received)
            await asyncio.sleep(1)  # the time in which there is no network, not one that is waited for
            assert len(client.received) == before
            network.reconnect()
            sent = await exchange(client, sent, 10)
            await nothing_is_missing(client, sent)

    asyncio.run(scenario())


@pytest.mark.parametrize("guess", ["", "0" * 32, None, 7])
def test_nobody_resumes_it_with_a_wrong_secret(network, guess):
    async def scenario():
        async with ResumingClient(network.port) as client:
            async with client.admission(secret=guess, next=0) as thief:
                with pytest.raises(ConnectionClosed):
                    await thief.recv()
                assert thief.close_code == wire.REFUSED
            await nothing_is_missing(client, await exchange(client, 0, 3))

    asyncio.run(scenario())


def test_a_handshake_that_was_listened_to_is_of_no_use(network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            await exchange(client, 0, 2)
            spied = {"secret": client.secret, "next": client.incoming.next}
            network.cut("rst")
            sent = await exchange(client, 2, 3)
            await client.until(lambda: client.outgoing.first == sent, "the worker has read on the new connection")
            async with client.admission(**spied) as thief:
                with pytest.raises(ConnectionClosed):
                    await thief.recv()
                assert thief.close_code == wire.REFUSED
            await nothing_is_missing(client, sent)

    asyncio.run(scenario())


def test_a_lost_answer_to_the_handshake_throws_nobody_out(network):
    """The page holds the old secret then, however often that happens."""

    async def scenario():
        async with ResumingClient(network.port) as client:
            sent = await exchange(client, 0, 2)
            client._living.cancel()
            await client.connection.close(4000)
            for _ in range(3):
                async with client.admission(secret=client.secret, next=client.incoming.next):
                    pass  # closed before anything was read
            client.connection = None
            await client._resume()
            client._living = asyncio.create_task(client._live())
            await nothing_is_missing(client, await exchange(client, sent, 3))

    asyncio.run(scenario())


def test_another_user_does_not_resume_it(network):
    async def scenario():
        async with ResumingClient(network.port, headers={"X-Forwarded-User": "ann"}) as client:
            thief = ResumingClient(network.port, headers={"X-Forwarded-User": "bob"})
            thief.session = client.session
            async with thief.admission(secret=client.secret, next=client.incoming.next) as connection:
                with pytest.raises(ConnectionClosed):
                    await connection.recv()
                assert connection.close_code == wire.REFUSED
            await nothing_is_missing(client, await exchange(client, 0, 3))

    asyncio.run(scenario())


def test_a_new_connection_retires_the_old_one(network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            sent = await exchange(client, 0, 2)
            client._living.cancel()
            old = client.connection
            client.connection = None
            await client._resume()
            client._living = asyncio.create_task(client._live())
            with contextlib.suppress(ConnectionClosed):
                async for _ in old:
                    pass
            assert old.close_code == wire.RETIRED
            await nothing_is_missing(client, await exchange(client, sent, 3))

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [-1, 10**9, 10**30, "0", None, True, 1.5])
def test_expecting_what_is_not_there_is_refused(network, number):
    async def scenario():
        async with ResumingClient(network.port) as client:
            async with client.admission(secret=client.secret, next=number) as connection:
                with pytest.raises(ConnectionClosed):
                    await connection.recv()
                assert connection.close_code == wire.REFUSED
            await nothing_is_missing(client, await exchange(client, 0, 3))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "content", [wire.ACK + b"1000", wire.ACK + b"x", wire.ACK + b"9" * 400, b"\x63?", wire.HELLO]
)
def test_a_page_that_says_what_cannot_be_has_no_session(site, network, content):
    async def scenario():
        async with ResumingClient(network.port, path="/?quiet") as client:
            await client.connection.send(content)
            assert await client.end() == wire.REFUSED

    asyncio.run(scenario())
    site.says("does not keep to the protocol")


@pytest.mark.parametrize(("asked", "code"), [("close 1000", 1000), ("close 1001", 1001), ("close 4001", 4001)])
def test_a_session_that_the_app_has_closed_is_not_resumed(network, asked, code):
    async def scenario():
        async with ResumingClient(network.port) as client:
            await client.send(asked)
            assert await client.end() == code
            assert not await is_there(client)
            async with client.admission(secret=client.secret, next=0) as late:  # as a page that was away
                assert await late.recv() == wire.BYE
                with pytest.raises(ConnectionClosed):
                    await late.recv()
                assert late.close_code == wire.GONE

    asyncio.run(scenario())


def test_a_closed_page_ends_its_session_at_once(network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            assert await is_there(client)
        await over(client)

    asyncio.run(scenario())


def test_when_its_process_is_gone_another_one_says_so(site, network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            worker = client.session.partition(".")[0]
            dead = await asyncio.to_thread(site.kill, worker)
            assert await client.end() == wire.GONE
            await asyncio.to_thread(site.back, worker, dead)

    asyncio.run(scenario())


def test_more_than_is_kept_ends_a_session_without_a_page(site, network):
    async def scenario():
        async with ResumingClient(network.port) as client:
            await client.send("fill 90000")
            await client.until(
                lambda: any(len(text) == 90_000 for text in client.received), "the letters have come"
            )
            assert client.ended is None  # as much as that is kept
            client._living.cancel()
            await client.send("fill 200000")
            await client.connection.close(4000)
            await over(client)

    asyncio.run(scenario())


def test_the_one_that_has_waited_longest_makes_room(network):
    async def scenario():
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(ResumingClient(network.port)) for _ in range(12)]
            processes = Counter(client.session.partition("-")[0] for client in clients)
            mine = processes.most_common(1)[0][0]
            clients = [client for client in clients if client.session.startswith(mine)][:4]
            for client in clients:
                client._living.cancel()
                await client.connection.close(4000)
            await over(clients[0])
            assert all([await is_there(client) for client in clients[1:]])

    asyncio.run(scenario())


def test_a_client_that_speaks_as_before_is_served_as_before(site):
    with contextlib.closing(site.websocket()) as socket:
        assert socket.recv() == "0"
        socket.send("0")
        socket.send("report")
        while not (text := socket.recv()).startswith("{"):
            pass
        assert json.loads(text) == {"taken": 1}
