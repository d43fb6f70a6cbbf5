"""The seats of a pool: links that nginx takes one after another, and what each leads to."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# How often at most the seats are gone around to find out who has come by which. After more, nobody is on the way.
ROUNDS = 32


class Seats:
    """The seats of an app that one kind of visitors come by, in nginx's order.

    As long as all workers have the same number of sessions, each has as many seats, and no link is changed. A few
    seats may be no links at all for that; nginx goes on to the next.

    Args:
        folder: of the links.
        workers: the folder with a link to each worker, that seats are further names of: another name takes no room
            on a full disk.
        names: of the seats; nginx knows them.
        others: the folder of links, by the same names, to who takes over what the seat's worker has failed.
    """

    def __init__(self, folder: Path, workers: Path, names: list[str], others: Path | None = None) -> None:
        self._folder = folder
        self._others = others
        self._workers = workers
        self._order = deque(names)  # the one first that comes next
        self._leads_to: dict[str, str] = {}
        self._links: dict[Path, str] = {}

    def rename(self, names: list[str]) -> None:
        """Have other seats; those that nobody knows any more are removed."""
        for name in self._order:
            if name not in names:
                self._remove(name)
        self._order = deque(names)

    def take(self, visitors: Counter[str]) -> Iterator[str]:
        """Visitors have come to workers by seats, which are the last then to come again.

        Args:
            visitors: how many to each.

        Yields:
            The workers of those who have come by the seats before, and have not been heard of.
        """
        seated = set(self._leads_to.values())
        left = Counter({worker: number for worker, number in visitors.items() if worker in seated})
        for _ in range(len(self._order) * ROUNDS):
            if left.total() <= 0:
                return
            worker = self._leads_to.get(self._order[0])
            self._order.rotate(-1)
            if worker is not None and left[worker] > 0:
                left[worker] -= 1
            elif worker is not None:
                yield worker

    def place(self, loads: dict[str, int], limit: int | None) -> None:
        """Let the seat that comes next lead to the worker with the least load, and so on; who fits stays.

        Args:
            loads: of all workers that may get visitors.
            limit: how much each may have; None if there is none.

        Raises:
            OSError: the disk is full.
        """
        used = self._used(loads)
        for name in self._order:
            if name not in used:
                self._remove(name)
        workers = list(loads)
        following = dict(zip(workers, [*workers[1:], *workers[:1]], strict=True))
        for name, worker in self._plan(used, loads, limit).items():
            self._leads_to[name] = self._point(self._folder, name, worker)
            if self._others is not None:
                self._point(self._others, name, following[worker])

    def _used(self, loads: dict[str, int]) -> list[str]:
        """As many seats as can be the same number for each worker, the one first that comes next."""
        if not loads:
            return []
        by_use = sorted(self._order, key=lambda name: self._leads_to.get(name) not in loads)
        surplus = len(by_use) % len(loads) if len(loads) < len(by_use) else 0
        unused = set(by_use[len(by_use) - surplus :])
        return [name for name in self._order if name not in unused]

    def _plan(self, waiting: list[str], loads: dict[str, int], limit: int | None) -> dict[str, str]:
        """Where each seat should lead to.

        Args:
            waiting: the seats, the one first that comes next.
            loads: as in :meth:`place`.
            limit: likewise.
        """
        plan: dict[str, str] = {}
        turns = rounds(loads, limit)
        while waiting:
            free = dict.fromkeys(next(turns))
            turn, waiting = waiting[: len(free)], waiting[len(free) :]
            moved = []
            for name in turn:
                plan[name] = worker = self._leads_to.get(name, "")
                if worker in free:
                    del free[worker]
                else:
                    moved.append(name)
            plan |= zip(moved, free, strict=False)
        return plan

    def _point(self, folder: Path, name: str, worker: str) -> str:
        """Let a link lead to a worker, in one step; gives the worker."""
        link = folder / f"{name}.sock"
        if self._links.get(link) != worker:
            fresh = folder / f".{name}"
            fresh.unlink(missing_ok=True)
            os.link(self._workers / f"{worker}.sock", fresh, follow_symlinks=False)
            fresh.rename(link)
            fresh.unlink(missing_ok=True)  # which stays if it was the same link already
            self._links[link] = worker
        return worker

    def _remove(self, name: str) -> None:
        self._leads_to.pop(name, None)
        for folder in filter(None, (self._folder, self._others)):
            link = folder / f"{name}.sock"
            self._links.pop(link, None)
            link.unlink(missing_ok=True)


def rounds(loads: dict[str, int], limit: int | None) -> Iterator[list[str]]:
    """Who takes the next visitors, each of a round one, so that they are as even as can be; without an end.

    Args:
        loads: how many each has; there is one at least.
        limit: how many each may have. Once all have as many, everybody takes one more in each round.
    """
    for level in count(min(loads.values())):
        if limit is not None and level >= limit:
            break
        yield [worker for worker, load in loads.items() if load <= level]
    while True:
        yield list(loads)
