"""What it costs, while nothing happens to the network, that sessions can be resumed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time

from websockets.asyncio.client import ClientConnection, connect

from capacity import LIGHT
from hosts import Address, Ours
from measure import cpu_seconds, pss, tree
from scenarios import Bench, Figures, Outcome
from shiny_sticky.worker.resume.numbering import ACK_MESSAGES
from support.resuming_client import ResumingClient

# How many users move an input, how often each does, and for how long it thinks in between, in seconds.
USERS, UPDATES, THINK = 20, 60, 0.1

# Sessions that are open and do nothing, to see what they take.
OPEN = 200

SMOKE = 4

INIT = {".clientdata_output_out_hidden": False, ".clientdata_output_details_hidden": False, "n": 0, "name": ""}


class Plain:
    """A page without the script, in the form of a ResumingClient; use as an asynchronous context manager."""

    def __init__(self, port: int, path: str) -> None:
        self.received: list[str | bytes] = []
        self._url = f"ws://127.0.0.1:{port}{path}websocket/"
        self._connection: ClientConnection | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> Plain:
        self._connection = await connect(self._url, ping_interval=None, compression=None, proxy=None)
        self._reading = asyncio.create_task(self._read(self._connection))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def _read(self, connection: ClientConnection) -> None:
        async for message in connection:
            self.received.append(message)
            self._came.set()

    async def send(self, payload: str) -> None:
        """Send a message."""
        if self._connection is not None:
            await self._connection.send(payload)

    async def until(self, condition, what: str) -> None:
        """Wait until something that comes makes a condition true."""
        async with asyncio.timeout(60):
            while not condition():
                self._came.clear()
                await self._came.wait()


class Resuming(ResumingClient):
    """A page with the script, which acknowledges as seldom as that does."""

    together = ACK_MESSAGES


Client = Plain | Resuming


def resumption(bench: Bench) -> Outcome:
    """The same sessions of one process, by pages without the script and with it."""
    outcome = Outcome()
    kinds: dict[str, type[Client]] = {"ours-plain": Plain, "ours": Resuming}
    outcome.titles = {"ours-plain": "pages without the script", "ours": "sessions that can be resumed"}
    bench.alternate(outcome, {row: lambda kind=kind: _figures(bench, kind) for row, kind in kinds.items()}, most=9)
    for plain, resumable in zip(outcome.rounds["ours-plain"], outcome.rounds["ours"], strict=True):
        resumable["kb_more"] = resumable["kb_session"] - plain["kb_session"]
    return outcome


def _figures(bench: Bench, kind: type[Client]) -> Figures:
    own = set(tree(os.getpid()))
    with Ours(workers=1).serving(LIGHT.file) as address:
        return asyncio.run(_measured(bench, kind, address, [pid for pid in tree(os.getpid()) if pid not in own]))


async def _measured(bench: Bench, kind: type[Client], address: Address, server: list[int]) -> Figures:
    """Count what users take, and then what sessions take that nobody uses."""
    async with contextlib.AsyncExitStack() as stack:
        users = [await _open(stack, kind, address) for _ in range(SMOKE if bench.smoke else USERS)]
        await asyncio.gather(*(_use(user, 3, 0) for user in users))
        before = cpu_seconds(server)
        times = await asyncio.gather(*(_use(user, SMOKE if bench.smoke else UPDATES, THINK) for user in users))
        cpu = cpu_seconds(server) - before
        memory, more = pss(server), SMOKE if bench.smoke else OPEN
        for _ in range(more):
            await _open(stack, kind, address)
        memory = pss(server) - memory
    ordered = sorted(1000 * each for some in times for each in some)
    return {
        "p50_ms": ordered[len(ordered) // 2],
        "p95_ms": ordered[len(ordered) * 95 // 100],
        "cpu_update": 1000 * cpu / len(ordered),
        "kb_session": memory / more / 1000,
    }


async def _open(stack: contextlib.AsyncExitStack, kind: type[Client], address: Address) -> Client:
    """Begin a session, as a page does, and wait for its outputs."""
    client = await stack.enter_async_context(kind(address.port, address.path))
    await client.send(json.dumps({"method": "init", "data": INIT}))
    await client.until(lambda: any("n is 0" in str(each) for each in client.received), "the outputs are there")
    return client


async def _use(client: Client, updates: int, think: float) -> list[float]:
    """Move an input again and again; gives the seconds until each output."""
    times = []
    for number in range(1, updates + 1):
        await asyncio.sleep(think)
        client.received.clear()
        began = time.perf_counter()
        await client.send(json.dumps({"method": "update", "data": {"n": number}}))
        wanted = f"n is {number}"
        await client.until(lambda wanted=wanted: any(wanted in str(one) for one in client.received), wanted)
        times.append(time.perf_counter() - began)
    return times
