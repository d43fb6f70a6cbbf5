"""Processes: their output and events line by line, and their end, also of those that are not our children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Protocol

import psutil

from shiny_sticky.worker.protocol import ProtocolError, decode

# Open files that a process may have: as many as the system allows, up to this. A session takes one in its worker
# and two in nginx.
OPEN_FILES = 65536

# A longer line is passed on in pieces.
LONGEST_LINE = 64 * 1024


def open_files_limit() -> int:
    """Open files that each process may have: what the system allows, up to OPEN_FILES."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)


def raise_open_files() -> None:
    """Allow this process, and all that it starts, as many open files as it may have; shells begin with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < open_files_limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files_limit(), hard))


class LineReader(asyncio.Protocol):
    """Hands on what is read, line by line.

    Args:
        on_line: takes each line, without its end.

    Attributes:
        closed: done when the other end is closed.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Split what came into lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) > LONGEST_LINE:
            self._emit(self._rest)
            self._rest = b""

    def connection_lost(self, error: Exception | None) -> None:
        """Hand on the last line, if it had no end."""
        if self._rest:
            self._emit(self._rest)
            self._rest = b""
        if not self.closed.done():
            self.closed.set_result(None)

    def _emit(self, line: bytes) -> None:
        self._on_line(line.rstrip(b"\r").decode(errors="replace"))


async def read_lines(descriptor: int, on_line: Callable[[str], None]) -> tuple[asyncio.ReadTransport, LineReader]:
    """Read a pipe in the background, line by line.

    Args:
        descriptor: the pipe's reading end; the transport closes it.
        on_line: takes each line.
    """
    loop = asyncio.get_running_loop()
    return await loop.connect_read_pipe(lambda: LineReader(on_line), os.fdopen(descriptor, "rb", buffering=0))


class Process(Protocol):
    """A process, whoever's child it is."""

    @property
    def pid(self) -> int:
        """Its number."""

    async def wait(self) -> int | None:
        """Wait for its end; gives the exit code, negative for a signal, None if nobody knows."""

    def send_signal(self, number: signal.Signals, /) -> None:
        """Send it a signal."""


class Attended:
    """A process that is listened to, and whose end is noticed. Made by :meth:`of`.

    Attributes:
        pid: the process.
        alive: until it has ended, and what it printed last has been read.
        code: the exit code once it has ended, negative for a signal; None also if nobody knows it.
    """

    def __init__(self, process: Process, on_end: Callable[[], None]) -> None:
        self.pid = process.pid
        self.alive = True
        self.code: int | None = None
        self._process = process
        self._on_end = on_end
        self._end: asyncio.Task[int | None] | None = None

    @classmethod
    async def of(
        cls,
        process: Process,
        control: socket.socket,
        output: int,
        errors: int,
        on_line: Callable[[str], None],
        on_error_line: Callable[[str], None],
        on_event: Callable[[object], None],
        on_end: Callable[[], None],
    ) -> Attended:
        """Begin to listen to a process.

        Args:
            process: just started.
            control: where it tells events, as lines of JSON; it is closed in the end.
            output: the reading end of its standard output; likewise.
            errors: the same of its standard error; likewise.
            on_line: takes each line of its standard output.
            on_error_line: takes each line of its standard error.
            on_event: takes each message that it tells.
            on_end: called when it has ended.
        """

        def told(line: str) -> None:
            with contextlib.suppress(ProtocolError):  # half of a line: we did not read for long
                on_event(decode(line))

        self = cls(process, on_end)
        try:
            readers = [(await read_lines(output, on_line))[1], (await read_lines(errors, on_error_line))[1]]
            loop = asyncio.get_running_loop()
            events, _ = await loop.create_connection(lambda: LineReader(told), sock=control)
        except BaseException:
            self.send_signal(signal.SIGKILL)
            raise
        self._end = asyncio.create_task(self._until_end(events, readers), name=f"end of {self.pid}")
        return self

    async def _until_end(self, events: asyncio.BaseTransport, readers: list[LineReader]) -> int | None:
        code = await self._process.wait()
        # What it printed last is still in the pipe; a program that it started may keep that open for ever.
        await asyncio.wait([reader.closed for reader in readers], timeout=1)
        events.close()
        self.alive, self.code = False, code
        self._on_end()
        return code

    async def end(self) -> int | None:
        """Wait for its end.

        Returns:
            The exit code, as in :attr:`code`.
        """
        assert self._end is not None
        return await asyncio.shield(self._end)

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

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def exists(pid: int) -> bool:
    """Whether a process with that number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; nothing happens if the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def gone(pid: int) -> None:
    """Wait until a process, not necessarily a child of ours, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not Linux, or no descriptor to be had: nothing tells, so ask
        while exists(pid):
            await asyncio.sleep(0.2)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def end(pid: int, timeout: float, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, and kill it if it does not.

    Args:
        pid: the process.
        timeout: seconds that it gets.
        number: the signal that asks.
    """
    send(pid, number)
    try:
        await asyncio.wait_for(gone(pid), timeout)
    except TimeoutError:
        send(pid, signal.SIGKILL)
        await gone(pid)


def memory(pid: int) -> int:
    """The resident memory (RSS) of a process in bytes; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def how_it_ended(code: int | None) -> str:
    """An exit code in words; negative ones are signals, None is one that nobody knows."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class Backoff:
    """How long to wait before a process that failed is started again.

    The first time it is started at once; then after 0.5 s, doubled up to 30 s. After 60 s of good service
    the count begins anew.
    """

    FIRST, LONGEST, GOOD_SERVICE = 0.5, 30.0, 60.0

    def __init__(self) -> None:
        self._failures = 0

    def delay(self, served: float) -> float:
        """The seconds to wait now.

        Args:
            served: seconds for which the process had been ready.
        """
        if served >= self.GOOD_SERVICE:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        return float(min(self.LONGEST, self.FIRST * 2 ** (self._failures - 2)))
