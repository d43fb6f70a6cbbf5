"""Page loads that go on beside what a test does to a site; all are counted, and those that fail are kept."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support.real_site import Reply, Site
from support.waiting import until

# As many loads are under way at a time, at most, when they start on the clock.
CONNECTIONS = 64

# Seconds between a client's page and its next. Without it one client would keep the machine busy.
PAUSE = 0.02


@dataclass(frozen=True)
class Failure:
    """A page load that went wrong.

    Attributes:
        cookie: that it was asked for with.
        problem: the status that is not 200, an incomplete page, or the exception.
    """

    cookie: str | None
    problem: str


class PageLoads:
    """Loads one page again and again, each time on a connection of its own. Use as a context manager.

    Args:
        site: started.
        cookies: that the loads have, in turn; None is a new client.
        rate: loads a second, which start on the clock however long the last ones take. Without it each cookie is
            that of one client, who loads the page anew a moment after it has come.
        ending: what a complete page has in it.
        on_reply: takes each page that is complete.
        on_failure: takes each failure.

    Attributes:
        loaded: how many loads are done, by cookie.
        failures: those of them that went wrong.
    """

    def __init__(
        self,
        site: Site,
        cookies: Sequence[str | None] = (None,),
        rate: float | None = None,
        ending: bytes = b"",
        on_reply: Callable[[Reply], object] = lambda _: None,
        on_failure: Callable[[Failure], object] = lambda _: None,
    ) -> None:
        self.loaded: collections.Counter[str | None] = collections.Counter()
        self.failures: list[Failure] = []
        self._site = site
        self._cookies = cookies
        self._rate = rate
        self._ending = ending
        self._on_reply = on_reply
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._under_way: set[object] = set()
        clients = [(self._load_at_rate, rate)] if rate else [(self._load_always, cookie) for cookie in cookies]
        self._clients = [threading.Thread(target=run, args=(what,), daemon=True) for run, what in clients]

    def _load_always(self, cookie: str | None) -> None:
        while not self._stop.wait(PAUSE):
            self._load(cookie)

    def _load_at_rate(self, rate: float) -> None:
        began, number = time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as connections:
            while not self._stop.wait(max(0.0, began + number / rate - time.monotonic())):
                connections.submit(self._load, self._cookies[number % len(self._cookies)])
                number += 1

    def catch_up(self) -> None:
        """Wait until all loads have been answered that are under way."""
        begun = set(self._under_way)
        until(lambda: not begun & self._under_way, "what was under way is answered")

    def _load(self, cookie: str | None) -> None:
        load = object()
        self._under_way.add(load)
        try:
            reply = self._site.ask(cookie=cookie)
            problem = "" if reply.status == 200 else f"status {reply.status}: {reply.body[:200]!r}"
            if not problem and self._ending not in reply.body:
                problem = f"incomplete: {len(reply.body)} bytes"
            if not problem:
                self._on_reply(reply)
        except Exception as error:  # whatever it is, the test must know
            problem = repr(error)
        self._under_way.discard(load)
        with self._lock:
            self.loaded[cookie] += 1
            if problem:
                self.failures.append(Failure(cookie, problem))
        if problem:
            self._on_failure(Failure(cookie, problem))

    def __enter__(self) -> PageLoads:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()

    def __str__(self) -> str:
        return f"{len(self.failures)} of {self.loaded.total()} page loads failed: {self.failures[:3]}"
