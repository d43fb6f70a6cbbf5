"""A worker's slot: a name that stays, and the one task that keeps it filled with a process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator

from shiny_sticky import processes
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.supervision.activation import ActivationSocket
from shiny_sticky.supervision.announcement import Announcement
from shiny_sticky.supervision.incarnation import Incarnation
from shiny_sticky.supervision.pool import SILENT_SECONDS, Pool
from shiny_sticky.supervision.recycling import RecycleTurn, is_over, why_recycle
from shiny_sticky.supervision.release import Release
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.protocol import Announce


class Slot:
    """A worker's name, filled by one process after another.

    Args:
        name: such as ``app2``.
        release: where its processes come from.
        run_dir: where the worker's socket is.
        pool: whom new visitors come to, shared by the slots of an app.
        output: where to say what happens.
        recycle_turn: shared by the slots of an app.
        deploying: held while a deploy or restart replaces processes.
        announcement: what pages show; those of each new process, too.

    Attributes:
        release: a deploy brings another.
        current: the process that serves; None before the first, while it sleeps, and once the slot is retired.
        waiting: the socket that its next process takes over; None unless it sleeps, or is being woken.
        draining: earlier ones that still have sessions.
        restarts: how often it was filled again after a failure.
        let_go: retires it if the app has more workers than it needs; gives whether that was done.
    """

    def __init__(
        self,
        name: str,
        release: Release,
        run_dir: RunDir,
        pool: Pool,
        output: Output,
        recycle_turn: RecycleTurn,
        deploying: asyncio.Lock,
        announcement: Announcement | None = None,
    ) -> None:
        self.name = name
        self.release = release
        self.current: Incarnation | None = None
        self.waiting: ActivationSocket | None = None
        self.draining: set[Incarnation] = set()
        self.restarts = 0
        self.let_go: Callable[[], bool] = lambda: False
        self._run_dir = run_dir
        self._pool = pool
        self._output = output
        self._recycle_turn = recycle_turn
        self._deploying = deploying
        self._announcement = announcement or Announcement()
        self._filling = asyncio.Lock()
        self._backoff = processes.Backoff()

    @property
    def app(self) -> AppSettings:
        """The settings of the app that it serves."""
        return self.release.app

    @property
    def alive(self) -> list[Incarnation]:
        """All its processes that have not ended."""
        return [one for one in (self.current, *self.draining) if one is not None and one.alive]

    @property
    def silent(self) -> bool:
        """Whether new visitors go elsewhere, because its process does not give a sign of life."""
        return self._pool.is_silent(self.name)

    @property
    def asleep(self) -> bool:
        """Whether it has no process until somebody comes, and none is being started."""
        return self.waiting is not None and not self._filling.locked()

    @property
    def settled(self) -> bool:
        """Whether its process serves, and is not being replaced."""
        return self.current is not None and self.current.alive and not self._filling.locked()

    async def fill(self) -> None:
        """Start the first process.

        Raises:
            StartFailed: it did not come up.
        """
        async with self._filling:
            await self._start_current()

    async def keep_filled(self) -> None:
        """Replace the process whenever it is dead, hung, over, or due to be recycled, until the slot is retired.

        The one place where that is decided. A deploy calls :meth:`replace`, which wakes the wait below.
        """
        while (process := self.current) is not None:
            heard = await process.news(self._silence)
            if process is not self.current:
                continue
            if heard and process.alive:
                if is_over(self.app, process):
                    await self._follow(process)
                elif reason := why_recycle(self.app.recycle, process):
                    await self._recycle(reason)
                continue
            with self._set_apart(process):
                heard = heard or await process.news(self._further_silence)
                await self._replace_lost(process, heard)

    @contextlib.contextmanager
    def _set_apart(self, process: Incarnation) -> Iterator[None]:
        """Let new visitors come to others while a block runs, as long as these are heard.

        Where a worker has one session alone, so do those who name it: what keeps it is somebody else's. A session's
        own requests name the process.
        """
        with self._pool.without(self.name):
            apart = self.app.isolated and process.alive and self._pool.is_heard
            if apart:
                self._run_dir.link_of(self.name).unlink(missing_ok=True)
            try:
                yield
            finally:
                if apart and process is self.current and process.alive:
                    self._run_dir.link(process.name)

    @property
    def _silence(self) -> float:
        """Seconds without a sign of life, after which new visitors go to other workers."""
        return min(SILENT_SECONDS, self.app.hang_timeout or SILENT_SECONDS)

    @property
    def _further_silence(self) -> float | None:
        """Further seconds without one, after which the process counts as hung; None if it never does."""
        return self.app.hang_timeout - self._silence if self.app.hang_timeout else None

    async def _replace_lost(self, process: Incarnation, heard: bool) -> None:
        """Fill the slot again if the process is hung or dead, and nobody else has done so."""
        if process is not self.current:
            return
        if not heard:
            await self._end_hung(process)
        if not process.alive:
            await self._restart_on_exit(process)

    async def replace(self, release: Release) -> None:
        """Fill the slot anew, and let the process that served drain.

        Args:
            release: where the new one comes from.

        Raises:
            StartFailed: the new one did not come up; the old one serves on, and its release is the slot's.
        """
        async with self._filling:
            if self.waiting is not None:  # it sleeps, and wakes as the new one
                release.is_shiny = self.release.is_shiny
                self.release = release
                return
            old, old_release = self.current, self.release
            self.release = release
            try:
                new = await self._start_current()
            except StartFailed:
                self.release = old_release
                raise
        self._output.event(f"{self.name} is {new.name} now (pid {new.pid})")
        self._drain(old)

    def fall_asleep(self, waiting: ActivationSocket) -> None:
        """Leave the slot empty until somebody comes: the process that served drains.

        Args:
            waiting: the socket that the next process takes over.

        Raises:
            OSError: the disk is full; what served serves on.
        """
        try:
            self._run_dir.link(waiting.name)
            self._pool.add(self.name)
        except OSError:
            waiting.close()
            raise
        self.stop_waiting()
        old, self.current, self.waiting = self.current, None, waiting
        self._drain(old)

    def stop_waiting(self) -> None:
        """If it sleeps, wait for nobody any more."""
        if self.waiting is not None:
            self.waiting.close()
            self.waiting = None

    def retire(self) -> None:
        """Leave the slot empty: the process that served drains."""
        self.stop_waiting()
        old, self.current = self.current, None
        self._pool.remove(self.name)
        self._drain(old)

    def report_failure(self, failure: StartFailed) -> None:
        """Say why a process did not come up."""
        for line in failure.traceback.splitlines():
            self._output.relay(self.name, line)
        self._output.problem(str(failure))

    async def _start_current(self) -> Incarnation:
        """Start a new process, and let the worker's socket be its own once it answers.

        Raises:
            StartFailed: it did not come up; what served before serves on.
        """
        new = await self.release.start(self.name, self.waiting)
        new.on_load = functools.partial(self._report_load, new)
        try:
            self._run_dir.link(new.name)
            self._pool.limit = self.app.max_sessions
            self._pool.add(self.name)
        except OSError as error:  # the disk is full
            new.kill()
            await new.wait()
            raise StartFailed(f"App {self.release.app_name}: {self.name} cannot be started: {error}") from None
        if self.waiting is not None and self.waiting.name == new.name:
            self.waiting.hand_over()
            self.waiting = None
        self.stop_waiting()  # if a process with a socket of its own was needed after all
        self.current = new
        if self._announcement.text:
            new.tell(Announce(self._announcement.text))
        return new

    def _report_load(self, process: Incarnation, by_page: int, by_session: int) -> None:
        """Let the pool know of the process that serves, and who has come to it by a seat: for what."""
        if process is self.current:
            taken = 1 if is_over(self.app, process) else process.sessions
            self._pool.report(self.name, taken, process.expected, by_page, by_session)

    async def _restart_on_exit(self, process: Incarnation) -> None:
        """Fill the slot again, as long as nobody else does."""
        self._output.problem(f"{self.name} (pid {process.pid}) {process.how_it_ended}")
        uptime = process.uptime
        while process is self.current:
            delay = self._backoff.delay(uptime)
            if delay:
                self._output.event(f"{self.name} is started again in {delay:g} s")
                await self._pause(process, delay)
            async with self._filling:
                if process is not self.current:
                    return
                try:
                    new = await self._start_current()
                except StartFailed as failure:
                    self.report_failure(failure)
                    uptime = 0.0
                    continue
            self.restarts += 1
            self._output.event(f"{self.name} is back (pid {new.pid})")

    async def _pause(self, process: Incarnation, delay: float) -> None:
        """Wait some seconds, but no longer than until somebody else has filled the slot."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                while process is self.current:
                    await process.news(None)

    async def _end_hung(self, process: Incarnation) -> None:
        """End a process whose event loop is stuck, and let it say where."""
        timeout = f"{self.app.hang_timeout:g} s"
        self._output.problem(f"{self.name} (pid {process.pid}) has hung for {timeout} (hang_timeout); its threads:")
        await process.abort()

    async def _recycle(self, reason: str) -> None:
        """Replace the process for its age or size, if it is this slot's turn."""
        if not self._recycle_turn.free or self._deploying.locked():
            return
        async with self._recycle_turn.lock:
            self._output.event(f"{self.name} is replaced: {reason}")
            try:
                await self.replace(self.release)
            except StartFailed as failure:
                self.report_failure(failure)
                self._recycle_turn.not_before = asyncio.get_running_loop().time() + self._backoff.LONGEST

    async def _follow(self, process: Incarnation) -> None:
        """Let a process end whose one session is over, and another one follow if the app needs as many."""
        async with self._recycle_turn.renewals:
            if process is not self.current or self._recycle_turn.resting or self.let_go():
                return
            async with self._filling:
                if process is not self.current:
                    return
                try:
                    await self._start_current()
                except StartFailed as failure:
                    self.report_failure(failure)
                    self._recycle_turn.not_before = asyncio.get_running_loop().time() + self._backoff.LONGEST
                    return
        self._drain(process)

    def _drain(self, old: Incarnation | None) -> None:
        """Let a process that was replaced end with its last session."""
        if old is None:
            return
        old.notify()
        if old.alive:
            self.draining.add(old)
            old.drain(self._forget)

    def _forget(self, old: Incarnation) -> None:
        self.draining.discard(old)
        if self.app.isolated and old.sessions_served:  # as each session does
            return
        self._output.event(f"{old.name} (pid {old.pid}) has left")
