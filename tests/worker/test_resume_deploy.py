"""A session without a connection keeps its process through a deploy, and is resumed there."""

import asyncio

from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, Site
from support.resuming_client import ResumingClient


def test_cut_while_a_deploy_replaces_everything():
    async def scenario(site, network):
        async with ResumingClient(network.port) as client:
            await client.until(lambda: client.received, "it has begun")
            network.disconnect("rst")
            await asyncio.to_thread(site.reload)
            network.reconnect()
            before = len(client.received)
            await client.until(lambda: len(client.received) > before + 3, "it goes on")

    with Site({"app": {"target": str(APPS / "counting.py"), "workers": 2}}) as site:
        site.start()
        with CuttingProxy(site.port) as network:
            asyncio.run(scenario(site, network))
