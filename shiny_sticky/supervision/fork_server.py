"""The launcher's handle on a process that has imported an app and forks its workers (worker/fork_server.py)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable

from shiny_sticky import processes
from shiny_sticky.concurrency import comes_in_time
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import ManagedProcess, Process
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import WorkerOptions
from shiny_sticky.worker.protocol import Ended, Failed, Fork, Forked, Ready, Refused, Retire, Unforkable, encode

# Seconds that a fork server gets to report a fork's exit code.
REPORT_SECONDS = 1


class ForkServerGone(Exception):
    """The fork server has ended."""


class ForkServerProcess(ManagedProcess):
    """A fork server, which ends with the last of its forks once it is retired.

    Args:
        name: such as ``app-k3f9``.
        app_name: the app's.
        process: just started.
        channels: connected with it.
        run_dir: where its pid file is.
        output: takes what it prints.
        report_exit: called when it has ended without having been retired.
    """

    def __init__(
        self,
        name: str,
        app_name: str,
        process: Process,
        channels: Channels,
        run_dir: RunDir,
        output: Output,
        report_exit: Callable[[ForkServerProcess], None],
    ) -> None:
        super().__init__(process, channels.pipes)
        self.name = name
        self.app_name = app_name
        self._control = channels.pipes.control
        self._run_dir = run_dir
        self._output = output
        self._report_exit = report_exit
        self._forking = False  # from the end of the import until it is retired
        self._requests: dict[str, asyncio.Future[ForkedProcess]] = {}  # by incarnation
        self._forks: dict[int, ForkedProcess] = {}  # that have not ended

    async def imported(self, timeout: float) -> str:
        """Wait until the app is imported.

        Args:
            timeout: seconds that it may take.

        Returns:
            Why it must not be forked; empty if it may.

        Raises:
            StartFailed: it could not be imported, or took too long; then the process still runs.
        """
        await comes_in_time(lambda: asyncio.wait({self.outcome}), timeout)
        if not self.outcome.done():
            raise StartFailed(f"its import was not done within {timeout:g} s (start_timeout) and was stopped.")
        return self.outcome.result()

    async def fork(self, options: WorkerOptions, channels: Channels, timeout: float) -> ForkedProcess:
        """Fork a worker.

        Args:
            options: the worker's.
            channels: to connect it with.
            timeout: seconds that it may take.

        Raises:
            StartFailed: that is not possible.
            ForkServerGone: this process has ended.
        """
        if self._control.fileno() < 0:
            raise ForkServerGone
        descriptors = [channels.stdout, channels.stderr, *channels.descriptors.all()]
        request: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._requests[options.name] = request
        try:
            socket.send_fds(self._control, [encode(Fork(options.to_json()))], descriptors)
            await comes_in_time(lambda: asyncio.wait({request}), timeout)
            if not request.done():
                self.kill()
                raise StartFailed(f"could not be forked within {timeout:g} s (start_timeout).")
            return request.result()
        except ConnectionError:
            raise ForkServerGone from None
        except asyncio.CancelledError:
            if request.done() and not request.cancelled() and request.exception() is None:
                request.result().send_signal(signal.SIGKILL)  # nobody will have it
            raise
        finally:
            del self._requests[options.name]

    def drain(self) -> None:
        """Fork nothing more, and end with the last of the forks."""
        self._forking = False
        with contextlib.suppress(OSError):
            self._control.send(encode(Retire()))

    def terminate(self) -> None:
        """Nothing to do: it ends when its forks do."""

    def on_line(self, line: str, is_error: bool) -> None:
        """Show what the import prints."""
        self._output.relay(self.app_name, line, is_error)

    def on_message(self, message: object) -> None:
        """Take the outcome of the import, then what becomes of each fork."""
        if not self.outcome.done():
            self._on_outcome(message)
            return
        match message:
            case Forked(name, pid):
                fork = self._forks[pid] = ForkedProcess(pid)
                request = self._requests.get(name)
                if request is None or request.done():  # whoever asked has given up
                    fork.send_signal(signal.SIGKILL)
                else:
                    request.set_result(fork)
            case Refused(name, text):
                request = self._requests.get(name)
                if request is not None and not request.done():
                    request.set_exception(StartFailed(text))
            case Ended(pid, code):
                self._forks.pop(pid).report_exit(code)

    def _on_outcome(self, message: object) -> None:
        match message:
            case Ready():
                self._forking = True
                self.outcome.set_result("")
            case Unforkable(reason):
                self.outcome.set_result(reason)
            case Failed(text, traceback):
                self.outcome.set_exception(StartFailed(text, traceback))

    def on_exit(self) -> None:
        """Let nobody wait for it in vain."""
        self._run_dir.remove(self.name)
        for request in self._requests.values():
            if not request.done():
                request.set_exception(ForkServerGone())
        for fork in self._forks.values():
            fork.lose_server()
        self._forks.clear()
        if not self.outcome.done():
            how = processes.how_it_ended(self.exit_code)
            self.outcome.set_exception(StartFailed(f"its import {how} before it was done; see its output above."))
        if self._forking:
            self._report_exit(self)


class ForkedProcess:
    """A process that a fork server has forked: its child, not ours.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._server_gone = False

    def report_exit(self, code: int) -> None:
        """Take the exit code, which the fork server knows."""
        if not self._code.done():
            self._code.set_result(code)

    def lose_server(self) -> None:
        """Nobody will know the exit code."""
        self._server_gone = True

    async def wait(self) -> int | None:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal; None if the fork server did not live to know it.
        """
        await processes.gone(self.pid)
        if not self._code.done() and not self._server_gone:
            await asyncio.wait({self._code}, timeout=REPORT_SECONDS)
        if not self._code.done():
            self._code.set_result(None)
        return self._code.result()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self._code.done():
            processes.send(self.pid, number)
