"""Whoever misuses what resumes sessions is refused or put out, takes bounded memory, and harms nobody else."""

import asyncio
import contextlib
import os
import re
import secrets
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from shiny_sticky.worker.resume import wire
from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, Site
from support.resuming_client import ResumingClient
from support.waiting import PATIENCE

# More by RESUME_GUESSES=10000.
GUESSES = int(os.environ.get("RESUME_GUESSES", "500"))

# Guesses at a time.
ABREAST = 20

MEGABYTE = 1_000_000

# Bytes that a worker may take for what uvicorn, nginx and the session keep of 100 MB.
MOST = 40 * MEGABYTE


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": str(APPS / "counting.py"), "workers": 1}}, resume={"buffer": "100KB"}) as shared:
        yield shared.start()


@pytest.fixture
def worker(site) -> int:
    """Its pid; from now on its peak of memory is counted anew."""
    pid = site.pid("app1")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)
    return pid


@contextlib.asynccontextmanager
async def neighbour(site):
    """Another session of the same worker, which has to have lost nothing at the end."""
    async with ResumingClient(site.port) as client:
        yield client
        before = len(client.received)
        await client.send("0")
        await client.send("report")
        await client.until(lambda: '{"taken": 1}' in client.received, "it is answered")
        await client.until(lambda: len(client.received) > before + 3, "it goes on")
        assert client.ended is None and not client.resumed


def peak(pid: int) -> int:
    """Bytes of memory that a process has taken at most."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


@pytest.mark.slow
def test_guessed_secrets(site, worker):
    async def guess(client: ResumingClient, free: asyncio.Semaphore) -> int:
        async with free, client.admission(secret=secrets.token_hex(16), next=0) as thief:
            with pytest.raises(ConnectionClosed):
                await thief.recv()
            return thief.close_code

    async def scenario():
        async with neighbour(site), ResumingClient(site.port, path="/?quiet") as client:
            free = asyncio.Semaphore(ABREAST)
            codes = await asyncio.gather(*(guess(client, free) for _ in range(GUESSES)))
            assert set(codes) == {wire.REFUSED}
            await client.send("report")
            await client.until(lambda: client.received == ['{"taken": 0}'], "the session goes on")

    before = peak(worker)
    asyncio.run(scenario())
    assert len(site.says("a wrong secret")) == 1
    print(f"{GUESSES} guesses: {(peak(worker) - before) / MEGABYTE:.1f} MB")
    assert peak(worker) - before < MOST / 2


@pytest.mark.slow
def test_a_page_that_never_acknowledges(site, worker):
    """It reads, so that nothing but what is kept for it grows."""

    async def scenario():
        async with (
            neighbour(site),
            ResumingClient(site.port, path="/?quiet", acknowledges=False) as client,
        ):
            for _ in range(100):
                await client.send(f"fill {MEGABYTE}")
            assert await client.end() == wire.REFUSED

    before = peak(worker)
    asyncio.run(scenario())
    site.says(r"more than \d+ bytes wait for its page")
    print(f"100 MB that are never acknowledged: {(peak(worker) - before) / MEGABYTE:.1f} MB")
    assert peak(worker) - before < MOST


def test_a_hundred_megabytes_that_a_page_sends_after_a_gap(site, worker):
    """All of it comes, and no more of it is there at a time than is kept."""

    async def scenario():
        async with neighbour(site), ResumingClient(network.port, path="/?quiet") as client:
            network.disconnect("rst")
            for _ in range(100):
                await client.send("fill 1".ljust(MEGABYTE))
            network.reconnect()
            await client.until(lambda: len(client.received) == 100, "all of it is answered", 5 * PATIENCE)
            assert client.resumed

    before = peak(worker)
    with CuttingProxy(site.port) as network:
        asyncio.run(scenario())
    print(f"100 MB in a gap: {(peak(worker) - before) / MEGABYTE:.1f} MB")
    assert peak(worker) - before < MOST
