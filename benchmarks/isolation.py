"""What ``isolation: session`` costs beside shared workers, side by side: ``python benchmarks/isolation.py -n 60``.

Users come by turns to both sites, one after another, and stay. Their first output is timed from the page on; at the
end the memory of all processes (PSS: launcher, nginx, the parent, workers) is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from capacity import LIGHT
from contestants import CORES
from measure import pss, tree
from support.real_site import Site
from tabs import Tab

# The settings that are compared.
SHARED = {"workers": {"min": CORES, "max": 64}}
ISOLATED = {"workers": {"min": CORES, "max": 256}, "isolation": "session"}

# Where the websocket of a page goes to.
WAYS = {
    "own": "the page's own worker",
    "spare": "another one, for cookies are blocked",
    "taken": "another one, for the cookie names a worker that has a session",
}

# Seconds between two users.
BETWEEN = 0.2


class Visit:
    """A site, and the users that it has got.

    Args:
        settings: of its app.
    """

    def __init__(self, settings: dict) -> None:
        self.site = Site({"app": {"target": str(LIGHT.file), **settings}})
        self.tabs: list[Tab] = []
        self.times: dict[str, list[float]] = {way: [] for way in WAYS}

    def memory(self) -> float:
        """Bytes of all its processes."""
        assert self.site.launcher is not None
        pids = {*tree(self.site.launcher.pid), *tree(self.site.nginx_pid())}
        return pss(pids)

    async def come(self, way: str) -> None:
        """A user comes, and gets a first output."""
        cookies = {"own": None, "spare": "", "taken": "sticky=app1"}[way]
        began = time.perf_counter()
        tab = await Tab.open(self.site.port, "/", {"n": 0, "name": ""}, ("out", "details"), "n is 0", cookies)
        self.times[way].append(time.perf_counter() - began)
        self.tabs.append(tab)


async def compare(users: int, ways: list[str]) -> None:
    """Let users come to both sites, by turns in different ways to the isolated one, and print what that took."""
    shared, isolated = Visit(SHARED), Visit(ISOLATED)
    with shared.site, isolated.site:
        for each in (shared, isolated):
            each.site.start()
        await asyncio.sleep(5)
        idle = {each: each.memory() for each in (shared, isolated)}
        for number in range(users):
            for each in (shared, isolated) if number % 2 else (isolated, shared):
                await each.come(ways[number % len(ways)] if each is isolated and number else "own")
                await asyncio.sleep(BETWEEN)
        await asyncio.sleep(5)
        print(f"{users} users on {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
        for name, each in (("shared", shared), ("isolation: session", isolated)):
            memory, workers = each.memory(), each.site.status()["apps"][0]["workers"]
            all_in, more = (bytes_ / 1e6 / users for bytes_ in (memory, memory - idle[each]))
            print(f"{name}: {workers} workers, {memory / 1e6:.0f} MB in all")
            print(f"  a user: {all_in:.1f} MB with everything in it, {more:.1f} MB without what there was before")
            for way, times in each.times.items():
                if len(times) > 1:
                    low, median, high = statistics.quantiles([1000 * value for value in times], n=4)
                    half = f"half of them {low:.0f} to {high:.0f}, {len(times)} users"
                    print(f"  first output, by {WAYS[way]}: {median:.0f} ms ({half})")
        for tab in (*shared.tabs, *isolated.tabs):
            tab.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--users", type=int, default=60, help="of each site (default: 60)")
    parser.add_argument(
        "-w", "--ways", nargs="+", choices=WAYS, default=["own"], help="; ".join(map(": ".join, WAYS.items()))
    )
    options = parser.parse_args()
    asyncio.run(compare(options.users, options.ways))
    return 0


if __name__ == "__main__":
    sys.exit(main())
