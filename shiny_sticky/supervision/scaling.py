"""How many workers an app should have: decided from what they do, without a process being touched.

What comes of a decision is supervision/scaler.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from shiny_sticky.memory import Memory
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.settings.workers import ISOLATED_BYTES, WORKER_BYTES, WorkerRange

# Seconds by which a worker's event loop is late, on average over ten, from which on it has too much to do.
LATE_SECONDS = 0.5

# Seconds for which there must have been more workers than are needed, before one leaves.
QUIET_SECONDS = 60.0

# The same where each session has a worker: the next is forked sooner than others would be found to be late.
ISOLATED_QUIET_SECONDS = 15.0

# Seconds after a change before another one against lateness, and after a failure before the next attempt.
AGAIN_SECONDS = 10.0

# Of all memory, the part that stays free, and its limit in bytes: better a full worker than a dead machine.
RESERVE, MOST_RESERVE = 0.1, 1 << 30


@dataclass(frozen=True)
class Wanted:
    """What the settings want of an app's workers.

    Attributes:
        workers: how many there may be.
        sessions_per_worker: what each should have at most.
        spare: how many more there should be, so that nobody waits for a fork.
        isolated: whether each session has a worker of its own.
    """

    workers: WorkerRange
    sessions_per_worker: int
    spare: int
    isolated: bool = False

    @classmethod
    def of(cls, app: AppSettings) -> Wanted:
        """What an app's settings want."""
        full = min(app.sessions_per_worker, app.max_sessions or app.sessions_per_worker)
        return cls(app.workers, full, app.spare, app.isolated)

    @property
    def rule(self) -> str:
        """In the settings' words."""
        share = "isolation: session" if self.isolated else f"sessions_per_worker: {self.sessions_per_worker}"
        return f"{share}, spare: {self.spare}"

    @property
    def quiet_seconds(self) -> float:
        """For how long there must have been more workers than are needed, before one leaves."""
        return ISOLATED_QUIET_SECONDS if self.isolated else QUIET_SECONDS

    def needed(self, sessions: int) -> int:
        """Workers for so many sessions."""
        used = math.ceil(sessions / self.sessions_per_worker)
        return min(self.workers.max, max(self.workers.min, used + self.spare))


@dataclass(frozen=True)
class WorkerLoad:
    """What a worker has to do.

    Attributes:
        name: such as ``app2``.
        sessions: those that are open, and about to be.
        late: seconds by which its event loop is late, on average.
    """

    name: str
    sessions: int
    late: float = 0.0


@dataclass(frozen=True)
class Situation:
    """What a decision is made of.

    Attributes:
        workers: those that serve.
        look_at_memory: tells what there is.
        quiet: seconds for which nothing more was needed than there is.
        settled: seconds since the last change.
        leaving: whether a worker that was let go has not ended yet.
        waiting: visitors who wait for a place, as all workers are full.
    """

    workers: list[WorkerLoad]
    look_at_memory: Callable[[], Memory]
    quiet: float = 0.0
    settled: float = math.inf
    leaving: bool = False
    waiting: int = 0

    @property
    def sessions(self) -> int:
        """How many there are in all."""
        return sum(worker.sessions for worker in self.workers)

    @property
    def demand(self) -> int:
        """How many there would be if nobody waited."""
        return self.sessions + self.waiting

    def __str__(self) -> str:
        sessions, workers = self.sessions, len(self.workers)
        waiting = f", {self.waiting} waiting" if self.waiting else ""
        return f"{sessions} session{'s' * (sessions != 1)} in {workers} worker{'s' * (workers != 1)}{waiting}"


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why.

    Attributes:
        grow: workers to be started.
        shrink: the worker that is to leave; empty if none is.
        reason: to stand behind a colon in the log; empty if there is nothing to say.
        short_of_memory: whether workers are needed that there is no memory for.
    """

    grow: int = 0
    shrink: str = ""
    reason: str = ""
    short_of_memory: bool = False

    def told(self, workers: int) -> str:
        """What is done, and why; empty if there is nothing to say.

        Args:
            workers: that there are.
        """
        done = f"stays at {workers} workers"
        if self.grow:
            done = f"grows from {workers} to {workers + self.grow} workers"
        elif self.shrink:
            done = f"shrinks from {workers} to {workers - 1} workers, {self.shrink} leaves"
        return f"{done}: {self.reason}" if self.reason else ""


def decide(wanted: Wanted, now: Situation) -> Decision:
    """What to do about the number of workers."""
    more, reason = _missing(wanted, now)
    if more:
        memory = now.look_at_memory()
        if room := _room(memory, ISOLATED_BYTES if wanted.isolated else WORKER_BYTES):
            return Decision(grow=min(more, room), reason=reason)
        left = f"{memory.available >> 20} MB of {memory.total >> 20} MB of memory"
        return Decision(reason=f"{reason}, but {left} are all that is left", short_of_memory=True)
    if len(now.workers) > wanted.needed(now.demand) and now.quiet >= wanted.quiet_seconds and not now.leaving:
        return _shrink(wanted, now)
    return Decision()


def _missing(wanted: Wanted, now: Situation) -> tuple[int, str]:
    """How many workers more there should be, and why."""
    more = wanted.needed(now.demand) - len(now.workers)
    if more > 0:
        return more, f"{now} ({wanted.rule})"
    late = [worker for worker in now.workers if worker.late >= LATE_SECONDS and worker.sessions > 1]
    if late and len(now.workers) < wanted.workers.max and now.settled >= AGAIN_SECONDS:
        worst = max(late, key=lambda worker: worker.late)
        return 1, f"{worst.name} is late by {worst.late:.1f} s with {worst.sessions} sessions"
    return 0, ""


def _shrink(wanted: Wanted, now: Situation) -> Decision:
    """Let the emptiest leave; of several the one that came last."""
    emptiest = min(reversed(now.workers), key=lambda worker: worker.sessions)
    return Decision(
        shrink=emptiest.name,
        reason=f"{now}, for {wanted.quiet_seconds:.0f} s or longer",
    )


def _room(memory: Memory, worker_bytes: int) -> int:
    """For how many workers there is memory, beside what stays free."""
    reserve = min(MOST_RESERVE, RESERVE * memory.total)
    return max(0, int((memory.available - reserve) // worker_bytes))
