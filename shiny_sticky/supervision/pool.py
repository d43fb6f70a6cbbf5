"""Which workers the next visitors of an app come to: those with the fewest sessions, of those that are heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from shiny_sticky.settings.names import seat_names
from shiny_sticky.supervision.seats import Seats

# Seconds without a sign of life from a worker, after which new visitors go to others. One comes every second.
SILENT_SECONDS = 3.0

# Seconds for which somebody who has taken a seat, and has not been heard of, is taken to be on the way.
WAY_SECONDS = 1.0

# What new visitors come for; each takes its own turns in nginx, and has a folder of that name.
PAGES, SESSIONS = KINDS = ("pages", "sessions")

# The folders of links to each worker, of the seats, and of links to who takes over what a seat's worker has failed.
WORKERS, NEXT = "pool", "next"
FOLDERS = (WORKERS, *KINDS, NEXT)


class Pool:
    """The workers of an app that new visitors come to, by seats.

    A seat is a link to a worker. nginx takes one after another, round robin, and looks at every connect where it
    leads to. The one that comes next leads to the worker with the fewest sessions, the one after it to the worker
    that then has the fewest, and so on, once around.

    What a worker says is late by the visitors that are on their way to it. As seats are taken in turn, these are
    known all the same: when somebody has come by a seat, those who took the seats before it have left, too.

    Who names a worker comes to it anyhow.

    Args:
        app: its name.
        folder: where the workers' sockets are; the links have folders below it.
        seats: how many.
        clock: gives seconds.

    Attributes:
        limit: sessions that a worker may have; None if there is no limit.
        seats: how many there are.
        news: set when a worker has more sessions or fewer.
        on_news: called then, too.
    """

    def __init__(self, app: str, folder: Path, seats: int, clock: Callable[[], float] = monotonic) -> None:
        self.limit: int | None = None
        self.seats = seats
        self.news = asyncio.Event()
        self.on_news: Callable[[], None] = lambda: None
        self._app = app
        self._workers = folder / WORKERS
        self._clock = clock
        self._loads: dict[str, int] = {}
        self._has_sessions: dict[str, bool] = {}
        self._silent: set[str] = set()
        self._on_their_way = {
            kind: defaultdict[str, deque[float]](deque) for kind in KINDS
        }  # until when each counts
        self._reports = {kind: Counter[str]() for kind in KINDS}  # who has come by a seat, as workers say
        self._heard = False
        names = seat_names(app, seats)
        self._seats = {
            PAGES: Seats(folder / PAGES, self._workers, names, folder / NEXT),
            SESSIONS: Seats(folder / SESSIONS, self._workers, names),
        }

    @property
    def free(self) -> int | None:
        """Sessions that there is room for in the workers that are heard; None if there is no limit.

        A worker that has more than it may have, such as pages of which no session will come, takes from the others.
        """
        if self.limit is None:
            return None
        return sum(self.limit - load for worker, load in self._loads.items() if worker not in self._silent)

    def resize(self, seats: int) -> None:
        """Have more or fewer seats, as nginx is about to know, or knows by now.

        Raises:
            OSError: the disk is full.
        """
        self.seats = seats
        for each in self._seats.values():
            each.rename(seat_names(self._app, seats))
        self._publish()

    def add(self, worker: str) -> None:
        """Let a worker, which serves now and has nobody yet, belong to the pool.

        Raises:
            OSError: the disk is full.
        """
        with contextlib.suppress(FileExistsError):
            self._link_to(worker).symlink_to(f"../{worker}.sock")
        self._loads[worker] = 0
        self._has_sessions[worker] = False
        for coming in self._on_their_way.values():
            coming.pop(worker, None)
        self._publish()

    def remove(self, worker: str) -> None:
        """Let a worker belong to the pool no more."""
        if self._loads.pop(worker, None) is not None:
            del self._has_sessions[worker]
            self._publish_if_possible()
            self._link_to(worker).unlink(missing_ok=True)

    def report(self, worker: str, sessions: int, expected: int, by_page: int, by_session: int) -> None:
        """Take what a worker says, when anything of it has changed.

        Args:
            worker: such as ``app2``.
            sessions: how many it has.
            expected: how many are about to come.
            by_page: how many visitors have come for a page, by a seat, since it last said so.
            by_session: how many for a session.
        """
        if worker not in self._loads:
            return
        self._loads[worker] = sessions + expected
        self._has_sessions[worker] = sessions > 0
        self._reports[PAGES][worker] += by_page
        self._reports[SESSIONS][worker] += by_session
        if not self._heard:
            self._heard = True
            asyncio.get_running_loop().call_soon(self._take_reports)

    @contextlib.contextmanager
    def without(self, worker: str) -> Iterator[None]:
        """Send no new visitors to a worker while a block runs, as long as there are others that are heard."""
        self._silent.add(worker)
        self._publish_if_possible()
        try:
            yield
        finally:
            self._silent.discard(worker)
            self._publish_if_possible()

    @property
    def is_heard(self) -> bool:
        """Whether there is a worker that new visitors may come to at the moment."""
        return not self._silent.issuperset(self._loads)

    def is_silent(self, worker: str) -> bool:
        """Whether new visitors are not to come to a worker at the moment."""
        return worker in self._silent

    def _take_reports(self) -> None:
        """Go by what all workers have said that could be heard by now."""
        self.news.set()
        self.on_news()
        self._heard = False
        for kind, seats in self._seats.items():
            visitors, on_their_way = self._reports[kind], self._on_their_way[kind]
            for worker, coming in on_their_way.items():
                while coming and visitors[worker] > 0:
                    visitors[worker] -= 1
                    coming.popleft()
            for worker in seats.take(visitors):
                on_their_way[worker].append(self._clock() + WAY_SECONDS)
            visitors.clear()
        self._publish_if_possible()

    def _publish(self) -> None:
        """Let each seat lead to where it should: to all if no worker is heard, as to wait is better than a refusal.

        As long as nobody has a session, nginx's turn alone is as even as can be, whoever loads pages; but where a
        worker has one session alone, it is for the page that it has served.

        Raises:
            OSError: the disk is full.
        """
        loads = dict.fromkeys(self._loads, 0)
        if self.limit == 1 or any(self._has_sessions.values()):
            loads = {worker: self._load_of(worker) for worker in self._loads}
        heard = {worker: load for worker, load in loads.items() if worker not in self._silent}
        for seats in self._seats.values():
            seats.place(heard or loads, self.limit)

    def _publish_if_possible(self) -> None:
        """On a full disk, seats stay as they are until the next change."""
        with contextlib.suppress(OSError):
            self._publish()

    def _load_of(self, worker: str) -> int:
        """What a worker has said, and who is on the way to it; who has not come by now is not."""
        load, now = self._loads[worker], self._clock()
        for on_their_way in self._on_their_way.values():
            coming = on_their_way[worker]
            while coming and coming[0] <= now:
                coming.popleft()
            load += len(coming)
        return load

    def _link_to(self, worker: str) -> Path:
        return self._workers / f"{worker}.sock"
