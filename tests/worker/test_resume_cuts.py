"""Sessions whose connections are cut again and again, or all at once: with the counts of all that went through."""

import asyncio
import contextlib
import os
import statistics
import time

import psutil
import pytest

from support.cut_sessions import cut_at_random
from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, Site
from support.resuming_client import ResumingClient
from support.waiting import PATIENCE

# More by RESUME_CUTS=1000, and RESUME_SUSPENDED=2000.
CUTS = int(os.environ.get("RESUME_CUTS", "100"))
SUSPENDED = int(os.environ.get("RESUME_SUSPENDED", "200"))


@pytest.fixture(scope="module")
def site():
    settings = {"resume": {"max_suspended": SUSPENDED}}
    with Site({"app": {"target": str(APPS / "counting.py"), "workers": 4}}, **settings) as shared:
        yield shared.start()


def workers_of(site) -> list[psutil.Process]:
    return [psutil.Process(site.pid(worker)) for worker in site.workers()]


def memory(site) -> int:
    """Bytes that the workers have for themselves."""
    return sum(worker.memory_full_info().uss for worker in workers_of(site))


def cpu_time(site) -> float:
    """Seconds of CPU time that the workers have taken."""
    return sum(sum(worker.cpu_times()[:2]) for worker in workers_of(site))


@pytest.mark.slow
def test_cuts_at_random_moments(site):
    counts = cut_at_random(site.port, CUTS)
    print(counts)
    assert not counts.bad, str(counts)
    assert len(counts.resumed) > CUTS // 2  # some cuts meet a connection that does not carry its session yet


@pytest.mark.slow
def test_many_sessions_suspended_at_once_and_back_at_once(site):
    """What each of them has sent meanwhile is there. Memory and time are told, not judged."""

    async def scenario(network: CuttingProxy) -> str:
        before = memory(site)
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(SUSPENDED):
                clients.append(await stack.enter_async_context(ResumingClient(network.port, path="/?quiet")))
            network.disconnect("rst")
            async with asyncio.timeout(PATIENCE):
                while any(client.connection for client in clients):
                    await asyncio.sleep(0.05)
            suspended = memory(site)
            for client in clients:
                await client.send("0")
                await client.send("report")
            network.reconnect()
            back, cpu = time.monotonic(), cpu_time(site)
            for client in clients:
                await client.until(lambda client=client: client.received, "it is resumed")
            back, cpu = time.monotonic() - back, cpu_time(site) - cpu
            assert all(client.received == ['{"taken": 1}'] for client in clients)
            assert all(client.resumed and client.ended is None for client in clients)
            away = statistics.median(client.resumed[-1] for client in clients)
        return (
            f"{SUSPENDED} sessions suspended at once, all resumed within {back:.1f} s; a session: {away:.1f} s "
            f"away (median), {(suspended - before) / SUSPENDED / 1024:.0f} KB, "
            f"{1000 * cpu / SUSPENDED:.2f} ms of its worker's CPU"
        )

    with CuttingProxy(site.port) as network:
        print(asyncio.run(scenario(network)))
