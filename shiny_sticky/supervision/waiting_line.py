"""Who waits for a place in an app, and whose turn it is: first come, first served, decided without a process.

What the launcher does about it is supervision/waiting_room.py.
"""

from __future__ import annotations

import bisect
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shiny_sticky.worker import tokens

# How many may wait for an app.
MOST = 10_000

# Seconds after which those ask again who are far behind, and how many get each second of these.
LONGEST_PAUSE, A_SECOND_FOR = 5, 10

# Seconds by which somebody may be late to ask again, before others go first; and before they lose their place.
LATE_SECONDS, LOST_SECONDS = 2, 5

# Seconds in which somebody whose turn it is comes for the page. Until then it has a place.
ADMISSION_SECONDS = 15

# Seconds for which no launcher may have been there to be asked, and that who waits gets to ask the next one.
AWAY_SECONDS, AGAIN_SECONDS = 60, 10


@dataclass(frozen=True)
class Place:
    """Somebody waits.

    Attributes:
        ticket: what to ask with next.
        place: 1 is whose turn it is next.
        again: seconds until then.
    """

    ticket: str
    place: int
    again: int


@dataclass(frozen=True)
class Admission:
    """It is somebody's turn.

    Attributes:
        admission: with it, a worker serves the page.
    """

    admission: str


@dataclass(frozen=True)
class TooMany:
    """Not even to wait is there room.

    Attributes:
        again: seconds until one may ask again.
    """

    again: int


@dataclass
class _Visitor:
    """Somebody who waits.

    Attributes:
        arrival: when they came: Unix time, in milliseconds; no two have the same of one launcher.
        name: drawn at random.
        due: when they ask again.
    """

    arrival: int
    name: str
    due: int


class WaitingLine:
    """The line of those who wait for a place in an app.

    Places are in the tickets of those who have them, so that a new launcher knows the line by what it is asked.

    Args:
        key: signs tickets and admissions of the app.
        clock: gives Unix time, in seconds.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._waiting: dict[str, _Visitor] = {}
        self._order: list[tuple[int, str]] = []  # arrival and name
        self._admitted: dict[str, tuple[int, str]] = {}  # by name: until when, and the admission
        self._on_their_way: deque[int] = deque()  # admissions that no page has come of: until when each counts
        self._began = self._last_arrival = self._now()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._order)

    @property
    def on_their_way(self) -> int:
        """Those whose turn it was, and who have not come yet. They have a place each."""
        return len(self._on_their_way)

    def ask(self, ticket: str, free: int) -> Place | Admission | TooMany:
        """Answer somebody who asks for their place.

        Args:
            ticket: what they were told last; anything else if they come now.
            free: places that nobody has; some of them may be meant for those on their way.
        """
        now = self._now()
        visitor = self._returning(ticket, now)
        if visitor is not None and visitor.name in self._admitted:
            return Admission(self._admitted[visitor.name][1])  # the answer before has not arrived
        if visitor is None or visitor.name not in self._waiting:
            if self.waiting >= MOST:
                return TooMany(LONGEST_PAUSE)
            visitor = visitor or self._newcomer(now)
            self._waiting[visitor.name] = visitor
            bisect.insort(self._order, (visitor.arrival, visitor.name))
        if self._is_turn_of(visitor, free - self.on_their_way, now):
            return self._admit(visitor, now)
        place = 1 + bisect.bisect_left(self._order, (visitor.arrival, visitor.name))
        again = min(LONGEST_PAUSE, 1 + (place - 1) // A_SECOND_FOR)
        visitor.due = now + 1000 * again
        fields = (str(visitor.arrival), visitor.name, str(visitor.due))
        return Place(tokens.make(self._key, tokens.TICKET, *fields), place, again)

    def come(self, number: int) -> None:
        """So many of those on their way have been served their page, and have their place by that."""
        for _ in range(min(number, len(self._on_their_way))):
            self._on_their_way.popleft()

    def forget(self) -> None:
        """Forget who has not asked again, or has not come."""
        now = self._now()
        for visitor in list(self._waiting.values()):
            if now > visitor.due + 1000 * LOST_SECONDS:
                self._remove(visitor)
        while self._on_their_way and self._on_their_way[0] <= now:
            self._on_their_way.popleft()
        self._admitted = {name: given for name, given in self._admitted.items() if given[0] > now}

    def _now(self) -> int:
        """Unix time, in milliseconds."""
        return int(self._clock() * 1000)

    def _returning(self, ticket: str, now: int) -> _Visitor | None:
        """Who asks with a ticket; None if it is none, or their place is lost."""
        fields = tokens.read(self._key, tokens.TICKET, ticket)
        if len(fields) != 3 or not (fields[0].isdecimal() and fields[2].isdecimal()):
            return None
        arrival, name, due = int(fields[0]), fields[1], int(fields[2])
        was_away = self._began - 1000 * AWAY_SECONDS <= due
        good_until = max(due + 1000 * LOST_SECONDS, self._began + 1000 * AGAIN_SECONDS if was_away else 0)
        if now > good_until:
            return None
        return self._waiting.get(name) or _Visitor(arrival, name, due)

    def _newcomer(self, now: int) -> _Visitor:
        """Somebody who comes now, and so behind who has come in the same millisecond."""
        self._last_arrival = max(now, self._last_arrival + 1)
        return _Visitor(self._last_arrival, secrets.token_hex(8), now)

    def _is_turn_of(self, visitor: _Visitor, free: int, now: int) -> bool:
        """Whether there is a place for somebody, and for all before them; who is late to ask is waited for by none.

        Args:
            visitor: who asks.
            free: places.
            now: Unix time, in milliseconds.
        """
        for _, name in self._order:
            if free <= 0 or name == visitor.name:
                break
            free -= now <= self._waiting[name].due + 1000 * LATE_SECONDS
        return free > 0

    def _admit(self, visitor: _Visitor, now: int) -> Admission:
        self._remove(visitor)
        until = now + 1000 * ADMISSION_SECONDS
        token = tokens.make(self._key, tokens.ADMISSION, str(until), secrets.token_hex(8))
        self._admitted[visitor.name] = (until, token)
        self._on_their_way.append(until)
        return Admission(token)

    def _remove(self, visitor: _Visitor) -> None:
        del self._waiting[visitor.name]
        del self._order[bisect.bisect_left(self._order, (visitor.arrival, visitor.name))]
