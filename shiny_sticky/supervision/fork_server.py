"""The launcher's handle on a process that has imported an app and forks its workers (worker/fork_server.py)."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from shiny_sticky import processes
from shiny_sticky.concurrency import comes_in_time
from shiny_sticky.errors import StartFailed
from shiny_sticky.handle import Handle
from shiny_sticky.output import Output
from shiny_sticky.processes import ManagedProcess, Process
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import WorkerOptions
from shiny_sticky.worker.protocol import (
    Ended,
    Failed,
    Fork,
    Forked,
    ProtocolError,
    Proven,
    Ready,
    Refused,
    Retire,
    Unforkable,
    encode,
)

# Seconds that a fork server gets to report a fork's exit code.
REPORT_SECONDS = 5


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

    Attributes:
        left: what each fork imports itself, and why, in words; empty if they share all that the app imports.
        proven: whether a fork has answered, of this one or of an earlier one of the same code.
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
        super().__init__(process, channels.pipes, run_dir.owner.uid)
        self.name = name
        self.app_name = app_name
        self._run_dir = run_dir
        self._output = output
        self._report_exit = report_exit
        self._handle = _held(self.pid)
        self.left = ""
        self.proven = False
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
        if self._requests_to.fileno() < 0:
            raise ForkServerGone
        descriptors = [channels.stdout, channels.stderr, *channels.descriptors.all()]
        request: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._requests[options.name] = request
        try:
            socket.send_fds(self._requests_to, [encode(Fork(options.to_json()))], descriptors)
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

    def prove(self) -> None:
        """Let it remember what it shares, now that its first fork answers."""
        self.proven = True
        self.tell(Proven())

    def drain(self) -> None:
        """Fork nothing more, and end with the last of the forks."""
        self._forking = False
        self.tell(Retire())

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
                fork = self._forks[pid] = ForkedProcess(pid, self._proven(pid))
                request = self._requests.get(name)
                if request is None or request.done():  # whoever asked has given up
                    fork.send_signal(signal.SIGKILL)
                else:
                    request.set_result(fork)
            case Refused(name, text):
                request = self._requests.get(name)
                if request is not None and not request.done():
                    request.set_exception(StartFailed(text))
            case Ended(pid, code) if pid in self._forks and self._forks[pid].ended:
                self._forks.pop(pid).report_exit(code)
            case _:
                raise ProtocolError(f"not from it, or not now, or not true: {str(message)[:80]}")

    def on_lie(self, text: str) -> None:
        """End it: its forks serve on, and the next one comes from another."""
        if not self.outcome.done():
            self.outcome.set_exception(StartFailed(f"its import has said what none says: {text}"))
        elif self._handle is not None and not self._handle.ended:  # else its forks are no longer its children
            self._output.problem(
                f"App {self.app_name}: the process that forks its workers (pid {self.pid}) is killed. "
                f"It has said: {text}"
            )
        self.kill()

    def _proven(self, pid: int) -> Handle | None:
        """The fork that has a pid; None if it has ended already, and so may have another process that number.

        Raises:
            ProtocolError: it is not a child of this process, or another user's: nobody whom we may signal.
        """
        fork = _held(pid)
        if fork is None:
            return None
        if fork.parent != self.pid or not fork.belongs_to(self.uid):
            raise ProtocolError(f"that it has forked pid {pid}, which is not its child")
        return fork

    def _on_outcome(self, message: object) -> None:
        match message:
            case Ready(left=left, proven=proven):
                self._forking = True
                self.left, self.proven = left, proven
                self.outcome.set_result("")
            case Unforkable(reason):
                self.outcome.set_result(reason)
            case Failed(text, traceback):
                self.outcome.set_exception(StartFailed(text, traceback))
            case _:
                raise ProtocolError(f"not from it, or not now: {str(message)[:80]}")

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


def _held(pid: int) -> Handle | None:
    """A handle on a process; None if there is none of that number."""
    try:
        return Handle(pid)
    except ProcessLookupError:
        return None


class ForkedProcess:
    """A process that a fork server has forked: its child, not ours.

    Args:
        pid: the process.
        handle: holds it; None if it has ended already.
    """

    def __init__(self, pid: int, handle: Handle | None) -> None:
        self.pid = pid
        self._handle = handle
        self._code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._server_gone = False

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._handle is None or self._handle.ended

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
        if self._handle is not None:
            await self._handle.wait()
        if not self._code.done() and not self._server_gone:
            await asyncio.wait({self._code}, timeout=REPORT_SECONDS)
        if not self._code.done():
            self._code.set_result(None)
        return self._code.result()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._handle is not None:
            self._handle.send(number)
