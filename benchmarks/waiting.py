"""What pages that are open notice of visitors who wait for a place: ``python benchmarks/waiting.py``.

Two workers of an app are full. Each of their sessions sends messages there and back, by turns while nobody waits
and while some wait, each of whom asks for the place in line as often as its page would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.real_site import Site
from support.waiting import until
from support.waiting_visitors import app_status, fill, full_site

# Sessions that a worker may have, and has.
PLACES = 10

# Seconds until those who wait know by what they are told how often to ask.
SETTLED = 8

# Seconds between two rounds of messages.
PAUSE = 0.05


class Visitors(threading.Thread):
    """Visitors who wait; use as a context manager.

    Args:
        site: where.
        number: how many.

    Attributes:
        answers: how often one was told its place.
    """

    def __init__(self, site: Site, number: int) -> None:
        super().__init__()
        self.answers = 0
        self._site = site
        self._number = number
        self._end = threading.Event()

    def run(self) -> None:
        """Wait until the end."""
        asyncio.run(self._wait())

    async def _wait(self) -> None:
        async with asyncio.TaskGroup() as group:
            for place in range(self._number):
                group.create_task(self._visit(place / self._number))

    async def _visit(self, delay: float) -> None:
        await asyncio.sleep(delay)
        ticket = "none"
        while not self._end.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self._site.port)
            asked = f"GET /sticky-place?ticket={ticket} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
            writer.write(asked.encode())
            told = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
            ticket, again = told["ticket"], told["again"]
            self.answers += 1
            await asyncio.sleep(again)

    def __enter__(self) -> Visitors:
        self.start()
        until(lambda: app_status(self._site)["waiting"] == self._number, "all wait")
        time.sleep(SETTLED)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()
        until(lambda: app_status(self._site)["waiting"] == 0, "nobody waits")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--number", type=int, default=200, help="visitors who wait (default: 200)")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("-s", "--seconds", type=float, default=10, help="of each turn (default: 10)")
    options = parser.parse_args()
    print("| visitors who wait | there and back, ms: p50, p90, p99 | launcher's CPU, % | places told a second |")
    print("|--:|--:|--:|--:|")
    with full_site(Site, max_sessions=PLACES) as site:
        sessions = fill(site, 2 * PLACES)
        for _ in range(options.rounds):
            row = measured(site, sessions, options.seconds)
            print(f"| 0 | {row} | 0 |", flush=True)
            with Visitors(site, options.number) as visitors:
                before = visitors.answers
                row = measured(site, sessions, options.seconds)
                rate = (visitors.answers - before) / options.seconds
            print(f"| {options.number} | {row} | {rate:.0f} |", flush=True)


def measured(site: Site, sessions: list, seconds: float) -> str:
    """How long messages take there and back, and what the launcher takes meanwhile: two cells."""
    launcher = psutil.Process(site.launcher.pid)
    before, times, end = sum(launcher.cpu_times()[:2]), [], time.monotonic() + seconds
    while time.monotonic() < end:
        for session in sessions:
            began = time.perf_counter()
            session.send("there")
            session.recv()
            times.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE)
    parts = statistics.quantiles(times, n=100)
    cpu = 100 * (sum(launcher.cpu_times()[:2]) - before) / seconds
    return f"{parts[49]:.2f}, {parts[89]:.1f}, {parts[98]:.1f} | {cpu:.1f}"


if __name__ == "__main__":
    main()
