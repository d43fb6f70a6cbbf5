"""Pages that are open are told of a stop, and how long they have; where none is, nobody waits for that."""

import asyncio
import signal

import pytest

from support.real_site import APPS, PATIENCE, Site
from support.resuming_client import ResumingClient

APP = {"app": {"target": str(APPS / "counting.py"), "workers": 1}}

# Seconds: nobody waits so long here.
LONG = 3600


def stops_when_left(site: Site, taken_over: bool = False) -> dict:
    """Stop a site under an open page, which then leaves; gives what it was told.

    Args:
        site: started.
        taken_over: whether the page's worker is another launcher's by then.
    """

    async def scenario() -> list[dict]:
        async with ResumingClient(site.port) as client:
            await client.until(lambda: client.received, "it has begun")
            if taken_over:
                site.kill_launcher()
                await asyncio.to_thread(site.start)
            site.launcher.send_signal(signal.SIGTERM)
            await client.until(lambda: client.notices, "it is told")
            before = len(client.received)
            await client.until(lambda: len(client.received) > before, "it goes on")
            return client.notices

    (told,) = asyncio.run(scenario())
    assert site.launcher.wait(PATIENCE) == 0
    return told


@pytest.mark.parametrize("taken_over", [False, True])
def test_open_pages_are_told_of_a_stop_that_waits_for_nobody_else(site_of, taken_over):
    told = stops_when_left(site_of(APP, stop={"drain_timeout": LONG}).start(), taken_over)
    assert told["kind"] == "stopping"
    assert LONG - PATIENCE < told["seconds"] <= LONG


def test_the_time_that_is_told_is_the_worker_s_if_that_has_less(site_of):
    told = stops_when_left(site_of(APP, stop={"drain_timeout": LONG}, deploy={"drain_timeout": 1000}).start())
    assert 1000 - PATIENCE < told["seconds"] <= 1000


def test_a_stop_that_gives_no_time_tells_nothing(site_of):
    site = site_of(APP, stop={"drain_timeout": 0}).start()

    async def scenario():
        async with ResumingClient(site.port) as client:
            await client.until(lambda: client.received, "it has begun")
            site.launcher.send_signal(signal.SIGTERM)
            assert await client.end() in (1012, 1006)
            assert client.notices == []

    asyncio.run(scenario())
    assert site.launcher.wait(PATIENCE) == 0
