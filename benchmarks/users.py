"""Users of a Shiny app, in a process of their own: ``users.py port path``, told what to do on standard input.

Each line that it gets is a JSON object, ``{"users": 200, "think": 3}`` (as many from now on, who think for so many
seconds) or ``{"measure": 10}`` (seconds); each is answered by one: what has failed, and what was measured. A user
opens the page, and then time and again thinks (a Poisson process), moves an input, and waits for its output.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from typing import Any

import uvloop

from tabs import Refused, Tab

PATIENCE = 20

# New users a second: the opening of pages is not what is measured here.
ARRIVALS = 40


class Users:
    """All users of this process.

    Args:
        port: of 127.0.0.1.
        path: of the page.

    Attributes:
        think: seconds that users do so on average.
        latencies: seconds from each input to its output, since they were last emptied.
        late: seconds by which each user has come back later than it wanted to: what this process is behind.
        failures: what has gone wrong, since the start.
    """

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path
        self.think = 0.0
        self.tabs: list[Tab] = []
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.failures: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def grow(self, count: int) -> None:
        """Let users come until there are so many, and each has seen its first output."""
        new = range(len(self._tasks), count)
        opened = [asyncio.get_running_loop().create_future() for _ in new]
        for number, done in zip(new, opened, strict=True):
            self._tasks.append(asyncio.create_task(self._be_user(number, done)))
            await asyncio.sleep(1 / ARRIVALS)
        await asyncio.gather(*opened)

    async def measure(self, seconds: float) -> dict[str, Any]:
        """What they see for a while."""
        self.latencies.clear()
        self.late.clear()
        messages, received, cpu = self._counts()
        await asyncio.sleep(seconds)
        messages_after, received_after, cpu_after = self._counts()
        return {
            "latencies": self.latencies,
            "late": self.late,
            "messages": messages_after - messages,
            "bytes": received_after - received,
            "cpu": cpu_after - cpu,
        }

    def _counts(self) -> tuple[int, int, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        messages, received = (sum(getattr(tab, what) for tab in self.tabs) for what in ("messages", "bytes"))
        return messages, received, used.ru_utime + used.ru_stime

    async def _be_user(self, number: int, opened: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                tab = await Tab.open(self.port, self.path, {"n": 0, "name": ""}, ("out", "details"), "n is 0")
            self.tabs.append(tab)
            opened.set_result(None)
            await self._move_inputs(tab, random.Random(number))
        except (Refused, OSError) as error:
            self.failures.append(str(error) or type(error).__name__)
        finally:
            if not opened.done():
                opened.set_result(None)

    async def _move_inputs(self, tab: Tab, chance: random.Random) -> None:
        loop, n = asyncio.get_running_loop(), 0
        while True:
            wanted = loop.time() + chance.expovariate(1 / self.think)
            await asyncio.sleep(wanted - loop.time())
            self.late.append(loop.time() - wanted)
            n += 1
            began = time.perf_counter()
            async with asyncio.timeout(PATIENCE):
                await tab.say({"method": "update", "data": {"n": n}}, f'"n is {n}"')
            self.latencies.append(time.perf_counter() - began)


async def main(port: int, path: str) -> None:
    users = Users(port, path)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        told = json.loads(line)
        if "users" in told:
            users.think = told["think"]
            await users.grow(told["users"])
        measured = await users.measure(told["measure"]) if "measure" in told else {}
        print(json.dumps({"failures": users.failures, **measured}), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
