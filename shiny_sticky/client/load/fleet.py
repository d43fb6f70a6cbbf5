"""The processes that play visits, as the one who started them has them."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType

from shiny_sticky.client.load.notes import Batch
from shiny_sticky.client.load.player import Start, Task, play
from shiny_sticky.errors import StickyError

# Seconds that a process gets to close its visitors' pages.
END_SECONDS = 10


class Fleet:
    """Several processes that play. Use as an asynchronous context manager.

    Args:
        task: what they play.
        number: of processes.
        on_batch: takes what each has noted, with the process's number.
    """

    def __init__(self, task: Task, number: int, on_batch: Callable[[int, Batch], None]) -> None:
        self._task = task
        self._number = number
        self._on_batch = on_batch
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        self._heard: set[int] = set()
        self._all_heard = asyncio.Event()
        self._users = 0
        self.failed = asyncio.Event()

    async def __aenter__(self) -> Fleet:
        """Start the processes, and wait until all of them are ready."""
        loop = asyncio.get_running_loop()
        for number in range(self._number):
            ours, other = self._context.Pipe()
            process = self._context.Process(target=play, args=(self._task, other), daemon=True)
            process.start()
            other.close()
            self._processes.append(process)
            self._pipes.append(ours)
            loop.add_reader(ours.fileno(), self._take, number)
        await self._all_heard.wait()
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes: their visitors close their pages."""
        for pipe in self._pipes:
            asyncio.get_running_loop().remove_reader(pipe.fileno())
            pipe.close()
        await asyncio.to_thread(self._join)

    def come(self, users: int, over: float) -> float:
        """Have more users come, so that there are as many as this.

        Args:
            users: how many in all.
            over: seconds in which the new ones come, one after another at equal distances.

        Returns:
            Seconds until the last of them comes.
        """
        more = users - self._users
        now = time.monotonic()
        at = [now + over * number / max(1, more) for number in range(more)]
        for number, pipe in enumerate(self._pipes):
            first = (number - self._users) % self._number
            with contextlib.suppress(OSError):
                pipe.send(Start(tuple(at[first :: self._number])))
        self._users = users
        return at[-1] - now if at else 0.0

    async def sleep(self, seconds: float) -> None:
        """Let them play.

        Raises:
            StickyError: a process has ended.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.failed.wait(), seconds)
        self._check()

    def _check(self) -> None:
        if self.failed.is_set():
            raise StickyError("A process that plays has ended; what it printed above says why.")

    def _take(self, number: int) -> None:
        """Take what a process has to tell."""
        try:
            batch = self._pipes[number].recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipes[number].fileno())
            self.failed.set()
            self._all_heard.set()
            return
        self._heard.add(number)
        if len(self._heard) == self._number:
            self._all_heard.set()
        self._on_batch(number, batch)

    def _join(self) -> None:
        deadline = time.monotonic() + END_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
