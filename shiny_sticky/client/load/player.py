"""One of the processes that play visits: many visitors in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from shiny_sticky.client.load import recording
from shiny_sticky.client.load.clock import ArrivalClock, LagWatch
from shiny_sticky.client.load.notes import Batch, Fault, Reply
from shiny_sticky.client.load.script import Script, script_of
from shiny_sticky.client.load.target import Target
from shiny_sticky.client.load.visit import Visit

# Seconds between two batches.
BATCH_SECONDS = 0.25

# Seconds until a visitor who was thrown out comes again.
AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Task:
    """What a process plays.

    Attributes:
        recording: of the visit.
        target: the site.
        patience: seconds that are waited for an answer.
    """

    recording: Path
    target: Target
    patience: float


@dataclass(frozen=True)
class Start:
    """Have more users come.

    Attributes:
        at: when each of them does, by `time.monotonic`.
    """

    at: tuple[float, ...]


class Player:
    """Plays one visit after another for each of its users.

    Args:
        script: the visit.
        task: where, and how patient.
        clock: of the loop.
        orders: what to do comes here, and batches go there.
    """

    def __init__(self, script: Script, task: Task, clock: ArrivalClock, orders: Connection) -> None:
        self._script = script
        self._task = task
        self._clock = clock
        self._orders = orders
        self._lag = LagWatch()
        self._batch = Batch()
        self._waiting: dict[Visit, float] = {}
        self._users = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Play until the other end closes, or says nothing more but None."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._orders.fileno(), self._obey, ended)
        self._tasks.append(asyncio.create_task(self._lag.run()))
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), BATCH_SECONDS)
            with contextlib.suppress(OSError):
                self._orders.send(self._taken())
        asyncio.get_running_loop().remove_reader(self._orders.fileno())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reply(self, reply: Reply) -> None:
        """An answer has come."""
        self._batch.replies.append(reply)

    def fault(self, fault: Fault) -> None:
        """Something went wrong."""
        self._batch.fault(fault)

    def waits(self, visit: Visit, since: float | None) -> None:
        """A visit waits for an answer since then, or no more."""
        if since is None:
            self._waiting.pop(visit, None)
        else:
            self._waiting[visit] = since

    def _obey(self, ended: asyncio.Event) -> None:
        try:
            order = self._orders.recv()
        except (EOFError, OSError):
            order = None
        if isinstance(order, Start):
            self._tasks += [asyncio.create_task(self._user(at)) for at in order.at]
        else:
            ended.set()

    async def _user(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        self._users += 1
        while True:
            visit = Visit(self._script, self._task.target, self._clock, self._task.patience, self)
            if await visit.play():
                self._batch.finished += 1
            else:
                await asyncio.sleep(AGAIN_SECONDS)

    def _taken(self) -> Batch:
        """What was noted since the last batch."""
        taken, self._batch = self._batch, Batch()
        taken.users = self._users
        taken.waiting = list(self._waiting.values())
        taken.lags = self._lag.taken()
        taken.cpu = time.process_time()
        return taken


def play(task: Task, orders: Connection) -> None:
    """Be one of the processes, until the other end of the pipe closes.

    Args:
        task: what to play.
        orders: from the one who started this process, who ends it; a Ctrl-C is meant for that one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    script = script_of(recording.read(task.recording))
    clock = ArrivalClock()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner:
        runner.run(Player(script, task, clock, orders).run())
