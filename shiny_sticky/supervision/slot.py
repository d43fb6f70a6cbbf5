"""A worker: a slot with a name that stays, and what becomes of the processes that fill it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from shiny_sticky import processes
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.settings.model import AppSettings, RecycleSettings
from shiny_sticky.supervision.incarnation import STOP_SECONDS, CachedFiles, Incarnation
from shiny_sticky.supervision.parent import Parent
from shiny_sticky.supervision.rundir import RunDir

# Seconds on top of what a process is granted, before it is killed.
MARGIN = 2


@dataclass
class Surroundings:
    """What all workers share.

    Attributes:
        run_dir: where the sockets are.
        output: where to say what happens.
        spawn: runs something beside, until everything stops.
        drain_timeout: seconds that the sessions of a replaced process may go on.
        cached: which of each app's files nginx keeps; empty if it keeps none.
        may_recycle: asked before a worker of an app is replaced for its age or size; True is a promise to call
            `recycled` when that is done.
        recycled: see there.
    """

    run_dir: RunDir
    output: Output
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    drain_timeout: float
    cached: dict[str, CachedFiles]
    may_recycle: Callable[[str], bool]
    recycled: Callable[[str], None]


class Worker:
    """A slot, filled by one process after another.

    Args:
        name: such as ``app2``.
        parent: where its processes come from, and what they serve.
        surroundings: shared with the others.

    Attributes:
        parent: a deploy brings another.
        current: the process that serves; None before the first, and once the worker has been taken out.
        draining: earlier ones that still have sessions.
        restarts: how often it was filled again after a failure.
    """

    def __init__(self, name: str, parent: Parent, surroundings: Surroundings) -> None:
        self.name = name
        self.parent = parent
        self.current: Incarnation | None = None
        self.draining: set[Incarnation] = set()
        self.restarts = 0
        self._here = surroundings
        self._filling = asyncio.Lock()
        self._backoff = processes.Backoff()
        self._hang: asyncio.TimerHandle | None = None

    @property
    def app_name(self) -> str:
        """Whose it is."""
        return self.parent.app_name

    @property
    def app(self) -> AppSettings:
        """What its processes serve."""
        return self.parent.app

    @property
    def alive(self) -> list[Incarnation]:
        """All its processes that have not ended."""
        return [one for one in (self.current, *self.draining) if one is not None and one.alive]

    async def fill(self) -> Incarnation:
        """Start a new process, and let the worker's socket be its own once it answers.

        Raises:
            StartFailed: it did not come up; what served before serves on.
        """
        here = self._here
        incarnation = None
        try:
            await self.parent.ready()
            incarnation = await Incarnation.start(
                self.name,
                self.parent,
                here.run_dir,
                here.drain_timeout,
                here.cached.get(self.app_name),
                lambda line: here.output.relay(self.name, line),
            )
            await incarnation.ready(self.app.start_timeout)
            here.run_dir.link(incarnation.name)
        except BaseException as failure:
            if incarnation is not None:
                incarnation.kill()
                await incarnation.end()
            if isinstance(failure, OSError):  # disk full, no file descriptor left
                raise StartFailed(f"App {self.app_name}: {self.name} cannot be started: {failure}") from None
            if isinstance(failure, StartFailed):
                raise failure.of(self.app_name) from None
            raise
        self.current = incarnation
        return incarnation

    def watch(self) -> None:
        """Look after the process that has just filled the slot."""
        assert self.current is not None
        incarnation = self.current
        incarnation.on_beat = lambda: self._beat(incarnation)
        self._beat(incarnation)
        self._here.spawn(self._keep(incarnation))

    async def replace(self, parent: Parent) -> None:
        """Fill the slot anew, and let the process that served drain.

        Args:
            parent: where the new one comes from.

        Raises:
            StartFailed: the new one did not come up; the old one serves on, and its parent is the worker's.
        """
        async with self._filling:
            old, old_parent = self.current, self.parent
            self.parent = parent
            try:
                new = await self.fill()
            except StartFailed:
                self.parent = old_parent
                raise
            self.watch()
        self._here.output.event(f"{self.name} is {new.name} now (pid {new.pid})")
        self._drain(old)

    def take_out(self) -> None:
        """Leave the slot empty: the process that served drains."""
        self._cancel_hang()
        old, self.current = self.current, None
        self._drain(old)

    def show(self, failure: StartFailed) -> None:
        """Say why a process did not come up."""
        for line in failure.traceback.splitlines():
            self._here.output.relay(self.name, line)
        self._here.output.problem(str(failure))

    async def _keep(self, incarnation: Incarnation) -> None:
        """Fill the slot again if its process ends without having been replaced."""
        output = self._here.output
        code = await incarnation.end()
        if self.current is not incarnation:
            return
        self._cancel_hang()
        output.problem(f"{self.name} (pid {incarnation.pid}) {processes.how_it_ended(code)}")
        served = incarnation.served
        while True:
            delay = self._backoff.delay(served)
            if delay:
                output.event(f"{self.name} is started again in {delay:g} s")
                await asyncio.sleep(delay)
            async with self._filling:
                if self.current is not incarnation:
                    return  # a deploy has filled it, or taken it out
                try:
                    new = await self.fill()
                except StartFailed as failure:
                    self.show(failure)
                    served = 0.0
                    continue
            self.restarts += 1
            self.watch()
            output.event(f"{self.name} is back (pid {new.pid})")
            return

    def _drain(self, old: Incarnation | None) -> None:
        """Let a process that was replaced end with its last session."""
        if old is not None and old.alive:
            old.on_beat = lambda: None
            self.draining.add(old)
            old.drain()
            self._here.spawn(self._until_drained(old, self._here.drain_timeout))

    async def _until_drained(self, old: Incarnation, timeout: float) -> None:
        if not await old.ended_within(timeout + STOP_SECONDS + MARGIN):
            old.kill()
            await old.end()
        self.draining.discard(old)
        self._here.output.event(f"{old.name} (pid {old.pid}) has left")

    def _beat(self, incarnation: Incarnation) -> None:
        """Its event loop gives a sign of life: wait for the next, and see whether it is time to go."""
        self._cancel_hang()
        if self.app.hang_timeout:
            loop = asyncio.get_running_loop()
            self._hang = loop.call_later(self.app.hang_timeout, self._hung, incarnation)
        reason = why_recycle(self.app.recycle, incarnation)
        if reason and self._here.may_recycle(self.app_name):
            self._here.spawn(self._recycle(reason))

    async def _recycle(self, reason: str) -> None:
        self._here.output.event(f"{self.name} is replaced: {reason}")
        try:
            await self.replace(self.parent)
        except StartFailed as failure:
            self.show(failure)
            await asyncio.sleep(self._backoff.LONGEST)
        finally:
            self._here.recycled(self.app_name)

    def _hung(self, incarnation: Incarnation) -> None:
        """End a process whose event loop is stuck; the slot is filled again as after any end."""
        if self.current is not incarnation:
            return
        timeout = f"{self.app.hang_timeout:g} s"
        self._here.output.problem(
            f"{self.name} (pid {incarnation.pid}) has hung for {timeout} (hang_timeout); its threads:"
        )
        incarnation.abort()
        asyncio.get_running_loop().call_later(MARGIN, incarnation.kill)

    def _cancel_hang(self) -> None:
        if self._hang is not None:
            self._hang.cancel()
            self._hang = None


def why_recycle(limits: RecycleSettings, incarnation: Incarnation) -> str:
    """Why a process should be replaced by now; empty if it should not."""
    if limits.sessions_served is not None and incarnation.sessions_served >= limits.sessions_served:
        return f"it has served {incarnation.sessions_served} sessions (recycle.sessions_served)"
    if limits.lifetime is not None and incarnation.served >= limits.lifetime:
        return f"it has served for {incarnation.served:.0f} s (recycle.lifetime)"
    if limits.max_memory is not None:
        memory = processes.memory(incarnation.pid)
        if memory > limits.max_memory:
            return f"it has grown to {memory / (1 << 20):.0f} MB (recycle.max_memory)"
    return ""
