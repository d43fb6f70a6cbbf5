"""One process that fills a worker's slot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shiny_sticky import processes, resources
from shiny_sticky.errors import StickyError
from shiny_sticky.rundir import RunDir
from shiny_sticky.settings import AppSettings

# What open requests get when a worker is asked to end (SIGTERM); longer waits are drains.
STOP_SECONDS = 2


@dataclass
class StartFailed(StickyError):
    """A worker did not come up.

    Attributes:
        text: why, in a sentence.
        traceback: of the app's own code, when that failed to import.
    """

    text: str
    traceback: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class CachedFiles:
    """What nginx keeps of an app's files, beside Shiny's own.

    Attributes:
        paths: URL paths of files, and of folders with a slash at their end.
        room: bytes.
        max_age: seconds that browsers keep Shiny's own files.
    """

    paths: list[str]
    room: int
    max_age: int

    def arguments(self, run_dir: RunDir) -> list[str]:
        """What a worker is told of them."""
        return [
            f"--store={run_dir.compressed}",
            f"--store-room={self.room}",
            f"--max-age={self.max_age}",
            *(f"--keep={path}" for path in self.paths),
        ]


class Incarnation:
    """A worker process from its start to its end. Made by :meth:`start`.

    Attributes:
        name: such as ``app2.k3f9``.
        worker: the slot, ``app2``.
        pid: the process.
        code: the exit code once it has ended, negative for a signal.
        started_at: Unix time, in seconds.
        sessions: websockets that are open, as of its last sign of life.
        sessions_served: and in all.
        on_beat: called at each sign of life from its event loop, about every second.
        ready_at: when it first answered, on the monotonic clock in seconds; None before.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, run_dir: RunDir) -> None:
        self.name = name
        self.worker = name.split(".")[0]
        self.pid = process.pid
        self.ready_at: float | None = None
        self.ended_at: float | None = None
        self.code: int | None = None
        self._process = process
        self._run_dir = run_dir
        self.started_at = time.time()
        self.sessions = 0
        self.sessions_served = 0
        self.on_beat: Callable[[], None] = lambda: None
        self._ready = asyncio.Event()
        self._failure: StartFailed | None = None
        self._ended: asyncio.Task[int] | None = None

    @classmethod
    async def start(
        cls,
        worker: str,
        app: AppSettings,
        folder: Path,
        run_dir: RunDir,
        drain_timeout: float,
        cached: CachedFiles | None,
        on_line: Callable[[str], None],
    ) -> Incarnation:
        """Start a process for a worker; it is not ready yet.

        Args:
            worker: the slot.
            app: what it serves.
            folder: the settings file's; module:attribute targets are looked up there.
            run_dir: where its socket goes.
            drain_timeout: seconds that its sessions may go on once it is replaced.
            cached: which of its files nginx keeps; None for none.
            on_line: takes each line that it prints.

        Raises:
            StickyError: the interpreter cannot be run.
        """
        name = run_dir.new_incarnation(worker)
        with contextlib.ExitStack() as ours:  # every descriptor that only the child needs

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
            command = [
                str(app.python or sys.executable),
                str(resources.path("worker")),
                name,
                f"--target={app.target}",
                f"--path={app.path}",
                f"--stop-timeout={STOP_SECONDS}",
                f"--drain-timeout={drain_timeout}",
                f"--max-sessions={app.max_sessions or 0}",
                *(cached.arguments(run_dir) if cached else ()),
                f"--listen-fd={listener.fileno()}",
                f"--control-fd={its_control.fileno()}",
                f"--output-fd={output}",
                f"--log-fd={log}",
                f"--pid-fd={pid_file}",
            ]
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=its_output,
                    stderr=its_output,
                    env={**os.environ, **app.env, "STICKY_WORKER": worker, "STICKY_INCARNATION": name},
                    cwd=_working_folder(app, folder),
                    pass_fds=(listener.fileno(), its_control.fileno(), output, log, pid_file),
                    # Ctrl-C is for the launcher, which ends its workers in order.
                    start_new_session=True,
                    user=run_dir.owner.uid if run_dir.owner.switches else None,
                    group=run_dir.owner.gid if run_dir.owner.switches else None,
                    extra_groups=[] if run_dir.owner.switches else None,
                )
            except OSError as error:
                os.close(output)
                control.close()
                run_dir.remove(name)
                raise StartFailed(f"{worker} cannot be started with {command[0]}: {error.strerror}") from error
            try:
                os.write(pid_file, f"{process.pid}\n".encode())
            except OSError as error:  # the disk is full: the process serves all the same
                on_line(f"its pid file cannot be written: {error.strerror} ({run_dir.path})")

        self = cls(name, process, run_dir)
        _, lines = await processes.read_lines(output, on_line)
        events, _ = await asyncio.get_running_loop().create_connection(
            lambda: processes.LineReader(self._on_event), sock=control
        )
        self._ended = asyncio.create_task(self._until_end(events, lines), name=f"end of {name}")
        return self

    def _on_event(self, line: str) -> None:
        try:
            told = json.loads(line)
        except ValueError:  # half of a line: the launcher did not read for long
            return
        if told["event"] == "ready":
            self.ready_at = time.monotonic()
            self._ready.set()
        elif told["event"] == "beat":
            self.sessions, self.sessions_served = told["sessions"], told["served"]
            self.on_beat()
        elif told["event"] == "failed":
            self._failure = StartFailed(told["text"], told.get("traceback", ""))

    async def _until_end(self, events: asyncio.BaseTransport, lines: processes.LineReader) -> int:
        code = await self._process.wait()
        # What it printed last is still in the pipe; a program that it started may keep that open for ever.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(lines.closed), 1)
        events.close()
        self._run_dir.remove(self.name)
        self.ended_at, self.code = time.monotonic(), code
        return code

    async def end(self) -> int:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal.
        """
        assert self._ended is not None
        return await asyncio.shield(self._ended)

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
        if self.code is None:
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
        self._send(signal.SIGUSR2)

    def abort(self) -> None:
        """End it with a traceback of its threads (faulthandler)."""
        self._send(signal.SIGABRT)

    def terminate(self) -> None:
        """Ask it to close its sessions, finish its requests and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    async def ended_within(self, timeout: float) -> bool:
        """Wait for its end, but not for ever.

        Args:
            timeout: seconds.

        Returns:
            Whether it has ended.
        """
        try:
            await asyncio.wait_for(self.end(), timeout)
        except TimeoutError:
            return False
        return True

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _working_folder(app: AppSettings, folder: Path) -> Path:
    """The folder a worker runs in: a file's own, as on other Shiny hosts; else the settings file's."""
    file = Path(app.target.partition(":")[0])
    return file.parent if file.suffix == ".py" else folder
