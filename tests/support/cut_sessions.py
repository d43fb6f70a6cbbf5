"""Resumable sessions that count in both directions, while their connections are cut at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
from collections import Counter
from dataclasses import dataclass, field

from support.cutting_proxy import Cut, CuttingProxy
from support.resuming_client import ResumingClient
from support.waiting import PATIENCE

# Of three kinds of cuts, how many are which: what has fallen silent is out of play for 14 s.
KINDS: dict[Cut, int] = {"rst": 9, "fin": 9, "silence": 2}

# Seconds between two messages of a page; the app, counting.py, sends as many.
BETWEEN = 0.1


@dataclass
class Counts:
    """What has become of some sessions.

    Attributes:
        sessions: how many there were.
        cuts: by their kind.
        sent: messages of all pages.
        taken: by the app, in their order.
        received: by the pages.
        wrong: of these, those that came in another order, twice, or not.
        ended: sessions that are over.
        resumed: seconds from each loss, when the page noticed it, to its end.
    """

    sessions: int
    cuts: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    taken: int = 0
    received: int = 0
    wrong: int = 0
    ended: int = 0
    resumed: list[float] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """What should be 0."""
        return self.wrong + self.ended + abs(self.sent - self.taken)

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.cuts.items()))
        times = sorted(self.resumed)
        return (
            f"{self.cuts.total()} cuts ({kinds}) of {self.sessions} sessions: {self.sent} messages sent by pages, "
            f"{self.taken} taken; {self.received} received by pages, {self.wrong} of them wrong; "
            f"{self.ended} sessions ended; {len(times)} times resumed, "
            f"within {1000 * statistics.median(times):.0f} ms (median), "
            f"{1000 * times[len(times) * 99 // 100]:.0f} ms (p99)"
        )


def cut_at_random(port: int, cuts: int, sessions: int = 40, seed: int = 1) -> Counts:
    """Cut connections to a site that serves counting.py, about ten a second.

    Args:
        port: the site's.
        cuts: how many.
        sessions: that are open meanwhile.
        seed: what is cut, how and when.
    """
    with CuttingProxy(port) as network:
        return asyncio.run(_play(network, cuts, sessions, random.Random(seed)))


async def _play(network: CuttingProxy, cuts: int, sessions: int, chance: random.Random) -> Counts:
    counts = Counts(sessions)
    over = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ResumingClient(network.port)) for _ in range(sessions)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(_use(client, over, counts))
            while counts.cuts.total() < (cuts if _resumed(clients) > cuts // 2 else 10 * cuts):
                await asyncio.sleep(chance.expovariate(1 / BETWEEN))
                how = chance.choices(list(KINDS), list(KINDS.values()))[0]
                if await asyncio.to_thread(network.cut_one, how, chance.random()):
                    counts.cuts[how] += 1
            over.set()
    return counts


def _resumed(clients: list[ResumingClient]) -> int:
    return sum(len(client.resumed) for client in clients)


async def _use(client: ResumingClient, over: asyncio.Event, counts: Counts) -> None:
    """Send numbers until it is over, and see then what has become of them."""
    sent = 0
    while not over.is_set() and client.ended is None:
        await client.send(str(sent))
        sent += 1
        await asyncio.sleep(BETWEEN)
    with contextlib.suppress(AssertionError, TimeoutError):
        await client.send("report")
        await client.until(
            lambda: any("taken" in text for text in client.received), "the report has come", 10 * PATIENCE
        )
    counts.sent += sent
    counts.ended += client.ended is not None
    counts.resumed += client.resumed
    counts.received += len(client.received)
    reports = [json.loads(text) for text in client.received if text.startswith("{")]
    numbers = [int(text) for text in client.received if not text.startswith("{")]
    counts.taken += sum(report.get("taken", 0) for report in reports)
    counts.wrong += sum("wrong" in report for report in reports)
    counts.wrong += sum(number != place for place, number in enumerate(numbers))
