"""Sessions that wait for their pages are told apart from those that have one."""

import asyncio

import pytest

from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, Site, until
from support.resuming_client import ResumingClient


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": str(APPS / "counting.py"), "workers": 1}}) as shared:
        yield shared.start()


@pytest.fixture
def network(site):
    with CuttingProxy(site.port) as proxy:
        yield proxy


def counted(site: Site) -> tuple[int, int]:
    """How many sessions there are, and how many of them wait."""
    (worker,) = site.status()["workers"]
    (process,) = worker["incarnations"]
    return process["sessions"], process["suspended"]


def test_status_tells_of_sessions_that_have_lost_their_connection_until_they_have_one_again(site, network):
    async def scenario():
        async with ResumingClient(network.port) as client, ResumingClient(site.port):
            await asyncio.to_thread(until, lambda: counted(site) == (2, 0), "both have a connection")
            network.disconnect("rst")
            await asyncio.to_thread(until, lambda: counted(site) == (2, 1), "one waits")
            shown = await asyncio.to_thread(site.command, "status", str(site.config))
            assert " 2 (1 suspended) " in shown.stdout
            network.reconnect()
            await client.until(lambda: client.resumed, "it is resumed")
            await asyncio.to_thread(until, lambda: counted(site) == (2, 0), "both have a connection again")
        await asyncio.to_thread(until, lambda: counted(site) == (0, 0), "both are over")

    asyncio.run(scenario())
