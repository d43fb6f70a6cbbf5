"""Plays a visit by as many users as asked for, or by more and more, until answers take too long."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiny_sticky.client.load import recording
from shiny_sticky.client.load.fleet import Fleet
from shiny_sticky.client.load.judging import Level, Seen, judged, quantile, shown
from shiny_sticky.client.load.machine import Look, Onlooker
from shiny_sticky.client.load.notes import Batch
from shiny_sticky.client.load.player import Task
from shiny_sticky.client.load.results import Moment, ResultsWriter, Run
from shiny_sticky.client.load.script import script_of
from shiny_sticky.client.load.target import Target, is_this_machine
from shiny_sticky.client.load.verdict import verdict
from shiny_sticky.output import Output

# Users for whom one process has time, at a guess; the lag that is measured says whether it had.
USERS_PER_PROCESS = 100

SHOW_SECONDS = 0.5

# Seconds that a level lasts at least, however short the visit.
SHORTEST_HOLD = 10.0

# Of a level's time: in which new users come, one after another.
RISE_SHARE = 0.5


@dataclass(frozen=True)
class Plan:
    """How many users, for how long.

    Attributes:
        levels: numbers of users, one after another.
        hold: seconds that each lasts when all have come; None is as long as the visit, or 10 s.
        limit: seconds that 95 of 100 answers must come within.
        processes: that play; None is one a core at most.
        patience: seconds that an answer is waited for.
    """

    levels: tuple[int, ...]
    hold: float | None
    limit: float
    processes: int | None
    patience: float


class Tally:
    """What has been noted so far, for the level that is judged next, and for the line that is shown.

    Args:
        writer: gets all of it.
    """

    def __init__(self, writer: ResultsWriter) -> None:
        self._writer = writer
        self._batches: dict[int, Batch] = {}
        self._cpu_before: dict[int, float] = {}
        self.seen = self._nothing()

    def take(self, process: int, batch: Batch) -> None:
        """Take what a process has noted."""
        now = time.monotonic()
        self._batches[process] = batch
        self.seen.replies += batch.replies
        self.seen.faults += batch.faults
        self.seen.more_faults += batch.more_faults
        self.seen.finished += batch.finished
        self.seen.lags += batch.lags
        for reply in batch.replies:
            self._writer.write(reply)
        for fault in batch.faults:
            self._writer.write(fault)
        self._writer.write(Moment(now, process, batch.users, max(batch.lags, default=0.0)))

    def look(self, look: Look) -> None:
        """Take a look at machine and workers."""
        self.seen.looks.append(look)
        self._writer.write(look)

    def start_level(self) -> None:
        """Forget what was noted while users were coming."""
        self._cpu_before = {process: batch.cpu for process, batch in self._batches.items()}
        self.seen = self._nothing()

    def level(self, users: int, begin: float, limit: float) -> Level:
        """Judge what was noted since the level began."""
        now = time.monotonic()
        self.seen.replies = [reply for reply in self.seen.replies if reply.at >= begin]
        self.seen.waiting = [now - since for batch in self._batches.values() for since in batch.waiting]
        self.seen.own_cpu = sum(
            batch.cpu - self._cpu_before.get(process, batch.cpu) for process, batch in self._batches.items()
        )
        return judged(users, begin, now, self.seen, limit)

    @property
    def users(self) -> int:
        """Who are at it now."""
        return sum(batch.users for batch in self._batches.values())

    def shown(self) -> str:
        """How it stands, in a line."""
        p95 = quantile([reply.seconds for reply in self.seen.replies], 0.95)
        lag = quantile(self.seen.lags, 0.95)
        faults = len(self.seen.faults) + self.seen.more_faults
        return (
            f"{self.users} users: {len(self.seen.replies)} answers, p95 {shown(p95)}, "
            f"{faults} fault{'s' * (faults != 1)}; own lag {shown(lag)}"
        )

    @staticmethod
    def _nothing() -> Seen:
        return Seen([], [], [], 0, 0, [], [], 0.0, os.cpu_count() or 1)


def ramp(low: int, high: int, step: float) -> tuple[int, ...]:
    """Numbers of users that grow from one to another.

    Args:
        low: the first.
        high: the last.
        step: by what share each is greater than the one before; by one user at least.
    """
    levels = [low]
    while levels[-1] < high:
        levels.append(min(high, max(levels[-1] + 1, round(levels[-1] * (1 + step)))))
    return tuple(levels)


async def play(
    file: Path,
    target: Target,
    plan: Plan,
    results: Path,
    status: Callable[[], dict[str, Any]] | None,
    output: Output,
) -> str:
    """Play a visit.

    Args:
        file: its recording.
        target: where.
        plan: by how many.
        results: the file for what is found.
        status: gives the site's status, if it is known here.
        output: says how it stands.

    Returns:
        The answer, in a sentence.

    Raises:
        StickyError: the recording cannot be read, or a process has ended.
    """
    script = script_of(recording.read(file))
    for event in script.recording.events:
        script.recording.body(event)  # says now what is missing
    processes = plan.processes or max(1, min(os.cpu_count() or 1, -(-max(plan.levels) // USERS_PER_PROCESS)))
    here = await asyncio.to_thread(is_this_machine, target)
    run = Run(str(file), target.url, plan.limit, time.time(), script.length, processes, os.cpu_count() or 1, here)
    with ResultsWriter(results, run, time.monotonic()) as writer:
        player = _Playing(plan, plan.hold or max(SHORTEST_HOLD, script.length), writer, output)
        try:
            await player.run(Task(file, target, plan.patience), processes, status)
        finally:
            answer = verdict(run, player.levels)
            writer.verdict(answer)
    return answer


class _Playing:
    """Goes through a plan."""

    def __init__(self, plan: Plan, hold: float, writer: ResultsWriter, output: Output) -> None:
        self._plan = plan
        self._hold = hold
        self._writer = writer
        self._output = output
        self._tally = Tally(writer)
        self.levels: list[Level] = []

    async def run(self, task: Task, processes: int, status: Callable[[], dict[str, Any]] | None) -> None:
        onlooker = asyncio.create_task(Onlooker(status, self._tally.look).run())
        try:
            with self._output.progress(f"Starting {processes} process{'es' * (processes > 1)} that play") as line:
                async with Fleet(task, processes, self._tally.take) as fleet:
                    for users in self._plan.levels:
                        level = await self._play(fleet, users, line.update)
                        if level.broken or level.unsure:
                            return
        finally:
            onlooker.cancel()

    async def _play(self, fleet: Fleet, users: int, show: Callable[[str], None]) -> Level:
        """Have more users come, and judge what they find when all are there."""
        rise = fleet.come(users, self._hold * (RISE_SHARE if self.levels else 1.0))
        await self._wait(fleet, rise, users, show)
        begin = time.monotonic()
        self._tally.start_level()
        await self._wait(fleet, self._hold, users, show)
        level = self._tally.level(users, begin, self._plan.limit)
        self._writer.write(level)
        self.levels.append(level)
        self._output.event(row(level), style="")
        return level

    async def _wait(self, fleet: Fleet, seconds: float, users: int, show: Callable[[str], None]) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            show(f"To {users} users, {left:.0f} s more. {self._tally.shown()}")
            await fleet.sleep(min(SHOW_SECONDS, left))


def row(level: Level) -> str:
    """A level, in a line."""
    parts = [
        f"{level.users} users: p50 {shown(level.p50)}, p95 {shown(level.p95)}, p99 {shown(level.p99)} "
        f"of {level.replies} answers",
        f"{level.faults} fault{'s' * (level.faults != 1)}",
        f"CPU {level.busy:.0%}, own {level.own:.0%}",
        f"own lag {shown(level.lag)}",
    ]
    return "; ".join(parts) + (f"; too slow or failing: {level.broken}" if level.broken else "")
