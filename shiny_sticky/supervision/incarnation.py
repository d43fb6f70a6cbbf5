"""One process that fills a worker's slot."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from shiny_sticky import processes
from shiny_sticky.concurrency import comes_in_time
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import ManagedProcess, Process
from shiny_sticky.settings import names
from shiny_sticky.supervision.cgroups import Group
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.protocol import Beat, Failed, ProtocolError, Ready

# Seconds that open requests get after SIGTERM. Open sessions get longer, by draining.
STOP_SECONDS = 2

# Seconds on top of what a process is granted, before it is killed.
MARGIN = 2

# Seconds for which a process's page, on its way to a browser when the process ended, may yet ask for its files.
PAGE_SECONDS = 10


class Incarnation(ManagedProcess):
    """A worker process from its start to its end.

    Args:
        name: such as ``app2.k3f9``.
        process: just started.
        channels: connected with it.
        drain_timeout: seconds that it gives its sessions once it drains, as it was told at its start.
        run_dir: where its socket is.
        output: takes what it prints.
        group: its control group; None if it has no limits.

    Attributes:
        worker: the slot, ``app2``.
        sessions: open websockets, as it said last.
        suspended: those of them whose connection is lost, and that wait for their page.
        sessions_served: websockets accepted since the start.
        idle: seconds for which nothing had been open or about to come, as it said last.
        expected: sessions that are about to come.
        late: seconds by which its event loop is late, on average over the last ten.
        admitted: pages served since the start to visitors who have waited, and whose turn it was.
        on_load: called when any of these has changed, with the number of visitors who have come by a seat since:
            for a page, and for a session.
        serves_shiny: whether its app is Shiny's, by what it says.
    """

    def __init__(
        self,
        name: str,
        process: Process,
        channels: Channels,
        drain_timeout: float,
        run_dir: RunDir,
        output: Output,
        group: Group | None = None,
    ) -> None:
        super().__init__(process, channels.pipes, run_dir.owner.uid)
        self.name = name
        self.worker = names.worker_of(name)
        self.sessions = 0
        self.suspended = 0
        self.sessions_served = 0
        self.idle = 0.0
        self.expected = 0
        self.late = 0.0
        self.admitted = 0
        self.on_load: Callable[[int, int], None] = lambda *_: None
        self.serves_shiny = True
        self._drain_timeout = drain_timeout
        self._run_dir = run_dir
        self._output = output
        self._group = group
        self._beyond_limits = ""
        self._taken = (0, 0)
        self._ready_at: float | None = None  # on the monotonic clock, as is the end
        self._ended_at: float | None = None
        self._news = asyncio.Event()
        self._kill_timer: asyncio.TimerHandle | None = None
        self._on_left: Callable[[Incarnation], None] = lambda _: None

    @property
    def uptime(self) -> float:
        """Seconds for which it has answered; 0 if it never did."""
        if self._ready_at is None:
            return 0.0
        return (self._ended_at or time.monotonic()) - self._ready_at

    @property
    def how_it_ended(self) -> str:
        """Its end in words, such as ``was ended by SIGKILL``; once it has ended."""
        return self._beyond_limits or processes.how_it_ended(self.exit_code)

    def on_line(self, line: str, is_error: bool) -> None:
        """Show what the app prints."""
        self._output.relay(self.worker, line, is_error)

    def on_message(self, message: object) -> None:
        """Take the outcome of the start, then a heartbeat about every second."""
        match message:
            case Ready(shiny) if not self.outcome.done():
                self._ready_at = time.monotonic()
                self.serves_shiny = shiny
                self.outcome.set_result("")
            case Failed(text, traceback) if not self.outcome.done():
                self.outcome.set_exception(StartFailed(text, traceback))
            case Beat() if _can_be(message):
                self._take_beat(message)
            case _:
                raise ProtocolError(f"not from a worker, or not now: {str(message)[:80]}")

    def _take_beat(self, beat: Beat) -> None:
        """Note what it serves, and pass on what is new."""
        before = (self.sessions, self.sessions_served, self.expected)
        self.sessions, self.sessions_served, self.expected = beat.sessions, beat.sessions_served, beat.expected
        self.suspended = beat.suspended
        self.idle = 0.0 if beat.sessions or beat.expected else beat.idle
        self.late = beat.late / 1000
        self.admitted = beat.admitted
        taken, self._taken = self._taken, (beat.pages_taken, beat.sessions_taken)
        if taken != self._taken or before != (self.sessions, self.sessions_served, self.expected):
            self.on_load(beat.pages_taken - taken[0], beat.sessions_taken - taken[1])
        self.notify()

    def on_lie(self, text: str) -> None:
        """Go on without it if it serves: it is replaced as one that hangs, for nothing more is heard of it."""
        if self.outcome.done():
            self._output.problem(f"{self.worker} (pid {self.pid}) is not listened to any more. It has said: {text}")
        else:
            self.outcome.set_exception(StartFailed(f"{self.worker} has said what no worker says: {text}"))

    def on_exit(self) -> None:
        """Let nobody wait for it in vain."""
        self._ended_at = time.monotonic()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._group is not None:
            self._beyond_limits = self._group.how_it_ended()
            self._group.remove()
        self._run_dir.remove(self.name)
        asyncio.get_running_loop().call_later(PAGE_SECONDS, self._run_dir.remove_note, self.name)
        self._on_left(self)
        if not self.outcome.done():
            self.outcome.set_exception(
                StartFailed(f"{self.worker} {self.how_it_ended} before it answered; see its output above.")
            )
        self.notify()

    async def wait_ready(self, timeout: float) -> None:
        """Wait until it answers.

        Args:
            timeout: seconds it may take; then it is killed.

        Raises:
            StartFailed: it ended before, or took too long.
        """
        await comes_in_time(lambda: asyncio.wait({self.outcome}), timeout)
        if not self.outcome.done():
            self.kill()
            await self.wait()
            raise StartFailed(f"{self.worker} did not answer within {timeout:g} s (start_timeout) and was stopped.")
        self.outcome.result()

    def notify(self) -> None:
        """Wake whoever waits for :meth:`news`."""
        self._news.set()

    async def news(self, timeout: float | None) -> bool:
        """Wait for the next heartbeat, for the end, or until somebody calls :meth:`notify`.

        Args:
            timeout: seconds; None is for ever.

        Returns:
            Whether there was any of these in time.
        """
        heard = await comes_in_time(self._news.wait, timeout)
        if not heard and not self._news.is_set():  # else it came at the very same moment
            return False
        self._news.clear()
        return True

    def drain(self, on_left: Callable[[Incarnation], None] | None = None) -> None:
        """Ask it to end once its sessions have ended; should it not end in time, it is killed.

        Args:
            on_left: called when it has ended.
        """
        if on_left is not None:
            self._on_left = on_left
        self.signal(signal.SIGUSR2)
        if self._kill_timer is None and self.alive:
            limit = self._drain_timeout + STOP_SECONDS + MARGIN
            self._kill_timer = asyncio.get_running_loop().call_later(limit, self.kill)

    def terminate(self) -> None:
        """Ask it to close its sessions, finish its requests and end."""
        self.signal(signal.SIGTERM)

    async def abort(self) -> None:
        """End it with a traceback of its threads (faulthandler), or without if it does not manage one."""
        self.signal(signal.SIGABRT)
        if not await self.wait(MARGIN):
            self.kill()
            await self.wait()


def _can_be(beat: Beat) -> bool:
    """Whether the figures of a beat go together; an app may say what it likes."""
    return 0 <= beat.suspended <= beat.sessions <= beat.sessions_served and beat.expected >= 0 and beat.idle >= 0
