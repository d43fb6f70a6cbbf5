"""What is going to be asked, and how much that is at most: it is said before the first request."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shiny_sticky.client.visitor import MOST_REDIRECTS

# Files of a page that are asked for; Shiny's own has a dozen.
MOST_FILES = 60

# Visitors who open a second tab.
TWO_TABS = 2

# Of the sizes that are announced to find the upload limit.
MB = 1 << 20
UPLOAD_SIZES = (2 * MB, 10 * MB, 100 * MB, 1024 * MB)

# While it is watched: page loads a second, and seconds between two requests of each session.
PAGES_A_SECOND = 1
SESSION_SECONDS = 2

# Attempts to begin a new session, a second, of a watched tab that has lost its own.
ATTEMPTS_A_SECOND = 1


@dataclass(frozen=True)
class Plan:
    """What the command line asks for.

    Attributes:
        sessions: how many visitors come, each with a session.
        requests: how many requests of each session are made in each way.
        patience: seconds that a websocket is left silent.
        watch: whether the site is watched after that.
        watch_seconds: how long; None is until it is stopped.
    """

    sessions: int = 8
    requests: int = 3
    patience: float = 10
    watch: bool = False
    watch_seconds: float | None = None

    @property
    def tabs(self) -> int:
        """Second tabs that are opened."""
        return min(TWO_TABS, self.sessions)

    def most_requests(self) -> int | None:
        """How many requests are made by HTTP at most; None if nobody can tell."""
        pages = MOST_REDIRECTS + self.sessions + self.tabs + 2  # of the silent tab, and of the one that is cut
        ways = 3 * self.sessions + 2 * self.tabs + 1  # with, without and with others' cookies; tabs; after a cut
        others = 1 + len(UPLOAD_SIZES)  # a session that is made up
        checks = pages + ways * self.requests + others + 1 + MOST_FILES
        if not self.watch:
            return checks
        if self.watch_seconds is None:
            return None
        return checks + math.ceil(self.requests_a_second * (self.watch_seconds + 1))

    def most_websockets(self) -> int | None:
        """How many websockets are opened at most; None if nobody can tell."""
        checks = self.sessions + self.tabs + 1 + 1 + 4  # silent, foreign, and those that are cut and resumed
        if not self.watch:
            return checks
        if self.watch_seconds is None:
            return None
        return checks + math.ceil(ATTEMPTS_A_SECOND * self.sessions * (self.watch_seconds + 1))

    @property
    def requests_a_second(self) -> float:
        """How many are made while the site is watched."""
        return PAGES_A_SECOND + self.sessions / SESSION_SECONDS

    def announced(self) -> str:
        """What is going to happen, in a sentence."""
        checks = Plan(self.sessions, self.requests, self.patience)
        text = f"up to {checks.most_requests()} requests and {checks.most_websockets()} websockets"
        if not self.watch:
            return text
        rate = f"{self.requests_a_second:g} requests a second"
        if self.watch_seconds is None:
            return f"{text}, then {rate} until Ctrl-C"
        return (
            f"up to {self.most_requests()} requests and {self.most_websockets()} websockets, "
            f"{rate} for {spoken(self.watch_seconds)} among them"
        )


def spoken(seconds: float) -> str:
    """A time as people write it: 0.05 s, 10 s, 5 min."""
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
