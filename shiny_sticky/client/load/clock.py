"""When something came, as far as a busy program can tell, and how busy this one is."""

from __future__ import annotations

import asyncio
import selectors
import time

# Seconds between two looks at how late this program is.
TICK_SECONDS = 0.02

# A wait shorter than this was none: the events were there already.
WAITED_SECONDS = 0.00005

_Ready = list[tuple[selectors.SelectorKey, int]]


class ArrivalClock(selectors.DefaultSelector):
    """A selector that knows since when what it returns may have been there.

    If it had to wait, its events came just now. If not, they may have come at any time since it was asked last,
    while the program was busy with something else: that is the program's own lag, and not the server's.

    Attributes:
        came: the earliest time at which what is being handled may have come, by `time.monotonic`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.came = self._returned = time.monotonic()

    def select(self, timeout: float | None = None) -> _Ready:
        """Wait for events, and note when they may have come."""
        began = time.monotonic()
        ready: _Ready = super().select(timeout)
        now = time.monotonic()
        self.came = now if now - began > WAITED_SECONDS else self._returned
        self._returned = now
        return ready


class LagWatch:
    """Looks again and again how late this program is with what it was to do."""

    def __init__(self) -> None:
        self._seen: list[float] = []

    async def run(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._seen.append(max(0.0, loop.time() - due))

    def taken(self) -> list[float]:
        """What was seen since the last call, in seconds."""
        seen, self._seen = self._seen, []
        return seen
