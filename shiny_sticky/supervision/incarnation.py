"""One process that fills a worker's slot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable

from shiny_sticky import processes
from shiny_sticky.errors import StartFailed
from shiny_sticky.processes import Attended
from shiny_sticky.settings import names
from shiny_sticky.supervision.parent import Parent
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import CacheOptions, Descriptors, WorkerOptions
from shiny_sticky.worker.protocol import Beat, Failed, Ready

# What open requests get when a worker is asked to end (SIGTERM); longer waits are drains.
STOP_SECONDS = 2


class Incarnation:
    """A worker process from its start to its end. Made by :meth:`start`.

    Attributes:
        name: such as ``app2.k3f9``.
        worker: the slot, ``app2``.
        started_at: Unix time, in seconds.
        sessions: websockets that are open, as of its last sign of life.
        sessions_served: and in all.
        on_beat: called at each sign of life from its event loop, about every second.
        ready_at: when it first answered, on the monotonic clock in seconds; None before.
    """

    _process: Attended

    def __init__(self, name: str, run_dir: RunDir) -> None:
        self.name = name
        self.worker = names.worker_of(name)
        self.ready_at: float | None = None
        self.ended_at: float | None = None
        self._run_dir = run_dir
        self.started_at = time.time()
        self.sessions = 0
        self.sessions_served = 0
        self.on_beat: Callable[[], None] = lambda: None
        self._ready = asyncio.Event()
        self._failure: StartFailed | None = None

    @classmethod
    async def start(
        cls,
        worker: str,
        parent: Parent,
        run_dir: RunDir,
        drain_timeout: float,
        cache: CacheOptions | None,
        on_line: Callable[[str], None],
        on_error_line: Callable[[str], None],
    ) -> Incarnation:
        """Start a process for a worker; it is not ready yet.

        Args:
            worker: the slot.
            parent: where its processes come from.
            run_dir: where its socket goes.
            drain_timeout: seconds that its sessions may go on once it is replaced.
            cache: which of its files nginx keeps; None for none.
            on_line: takes each line of its standard output.
            on_error_line: takes each line of its standard error.

        Raises:
            StickyError: the interpreter cannot be run, or the app not be imported.
        """
        app = parent.app
        async with parent.turn:
            name = run_dir.new_incarnation(worker)
            with contextlib.ExitStack() as ours:  # every descriptor that only the process needs

                def hand_over(descriptor: int) -> int:
                    ours.callback(os.close, descriptor)
                    return descriptor

                listener = ours.enter_context(run_dir.bind(name))
                pid_file = hand_over(run_dir.open_pid_file(name))
                log = hand_over(run_dir.open_log())
                control, its_control = socket.socketpair()
                ours.enter_context(its_control)
                output, its_output = os.pipe()
                hand_over(its_output)
                errors, its_errors = os.pipe()
                hand_over(its_errors)
                options = WorkerOptions(
                    name=name,
                    target=app.target,
                    path=app.path,
                    stop_timeout=STOP_SECONDS,
                    drain_timeout=drain_timeout,
                    max_sessions=app.max_sessions or 0,
                    cache=cache,
                )
                descriptors = Descriptors(
                    control=its_control.fileno(),
                    output=output,
                    errors=errors,
                    log=log,
                    pid_file=pid_file,
                    listen=listener.fileno(),
                )
                try:
                    process = await parent.start(options, descriptors, its_output, its_errors)
                except BaseException:
                    os.close(output)
                    os.close(errors)
                    control.close()
                    run_dir.remove(name)
                    raise
                try:
                    run_dir.note_pid(pid_file, process.pid)
                except OSError as error:  # the disk is full: the process serves all the same
                    on_line(f"its pid file cannot be written: {error.strerror} ({run_dir.path})")

        self = cls(name, run_dir)
        self._process = await Attended.of(
            process, control, output, errors, on_line, on_error_line, self._on_event, self._on_end
        )
        return self

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.alive

    def _on_event(self, told: object) -> None:
        if isinstance(told, Ready):
            self.ready_at = time.monotonic()
            self._ready.set()
        elif isinstance(told, Beat):
            self.sessions, self.sessions_served = told.sessions, told.sessions_served
            self.on_beat()
        elif isinstance(told, Failed):
            self._failure = StartFailed(told.text, told.traceback)

    def _on_end(self) -> None:
        self._run_dir.remove(self.name)
        self.ended_at = time.monotonic()

    async def end(self) -> int | None:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal; None if nobody knows it.
        """
        return await self._process.end()

    async def ready(self, timeout: float) -> None:
        """Wait until it answers.

        Args:
            timeout: seconds it may take; then it is killed.

        Raises:
            StartFailed: it ended before, or took too long.
        """
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(self.end())
        try:
            await asyncio.wait({ready, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if self._ready.is_set():
            return
        if self.alive:
            self.kill()
            await self.end()
            raise StartFailed(f"{self.worker} did not answer within {timeout:g} s (start_timeout) and was stopped.")
        raise self._failure or StartFailed(
            f"{self.worker} {processes.how_it_ended(await self.end())} before it answered; see its output above."
        )

    @property
    def served(self) -> float:
        """Seconds for which it has answered; 0 if it never did."""
        if self.ready_at is None:
            return 0.0
        return (self.ended_at or time.monotonic()) - self.ready_at

    def drain(self) -> None:
        """Ask it to end once its sessions have ended."""
        self._process.send_signal(signal.SIGUSR2)

    def abort(self) -> None:
        """End it with a traceback of its threads (faulthandler)."""
        self._process.send_signal(signal.SIGABRT)

    def terminate(self) -> None:
        """Ask it to close its sessions, finish its requests and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)

    async def ended_within(self, timeout: float) -> bool:
        """Wait for its end, but not for ever.

        Args:
            timeout: seconds.

        Returns:
            Whether it has ended.
        """
        return await self._process.ended_within(timeout)
