"""Processes: their output and events line by line, and their end, also of those that are not our children."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import psutil

from shiny_sticky.concurrency import mark_retrieved
from shiny_sticky.leftover_programs import SESSION_SECONDS, end_session
from shiny_sticky.worker.protocol import LONGEST, ProtocolError, decode, encode

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
        longest: bytes of a line; of a longer one it takes pieces.

    Attributes:
        closed: done when the other end is closed.
    """

    def __init__(self, on_line: Callable[[str], None], longest: int = LONGEST_LINE) -> None:
        self._on_line = on_line
        self._longest = longest
        self._rest = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Split what came into lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) > self._longest:
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


class MessageReader(LineReader):
    """Hands on the lines of worker/protocol.py. What has no end was not sent to the end, and is dropped.

    Args:
        on_line: takes each line, and pieces of what is longer than any message.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        super().__init__(on_line, LONGEST)

    def connection_lost(self, error: Exception | None) -> None:
        """Drop half of a line: the process was killed while it sent that."""
        self._rest = b""
        super().connection_lost(error)


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


@dataclass(frozen=True)
class Pipes:
    """The launcher's ends of what a process is connected with; closed when that has ended.

    Attributes:
        control: the socket that worker/protocol.py is spoken on.
        output: the reading end of its standard output.
        errors: the reading end of its standard error.
    """

    control: socket.socket
    output: int
    errors: int


class ManagedProcess:
    """A process that is listened to, and whose end is noticed. Subclasses override on_line, on_message and on_exit.

    Args:
        process: just started.
        pipes: connected with it.
        uid: the user that it runs as.

    Attributes:
        pid: the process.
        started_at: Unix time, in seconds.
        alive: until it has ended, and what it printed last has been read.
        exit_code: once it has ended, negative for a signal; None also if nobody knows it.
        outcome: what came of its start, for subclasses to tell.
    """

    def __init__(self, process: Process, pipes: Pipes, uid: int) -> None:
        self.pid = process.pid
        self.uid = uid
        self.started_at = time.time()
        self.alive = True
        self.exit_code: int | None = None
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.outcome.add_done_callback(mark_retrieved)
        self._process = process
        self._requests_to = pipes.control
        self._control: asyncio.BaseTransport | socket.socket | None = pipes.control
        self._life = asyncio.create_task(self._live(pipes), name=f"life of {self.pid}")

    def on_line(self, line: str, is_error: bool) -> None:
        """Take a line that it printed, to standard error or to standard output."""

    def on_message(self, message: object) -> None:
        """Take a message of worker/protocol.py.

        Raises:
            ProtocolError: no process of its kind says that, or not now, or it is not true.
        """

    def on_lie(self, text: str) -> None:
        """Note that it has said what it must not say, and is not listened to any more."""

    def on_exit(self) -> None:
        """Note that it has ended."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, and for that of the programs that it has left running.

        Args:
            timeout: seconds; None is for ever.

        Returns:
            Whether it has ended.
        """
        await asyncio.wait({self._life}, timeout=timeout)
        return self._life.done()

    def tell(self, message: object) -> None:
        """Send it a message of worker/protocol.py; nothing happens if it has ended, or does not read."""
        with contextlib.suppress(OSError):
            self._requests_to.send(encode(message))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    async def _live(self, pipes: Pipes) -> None:
        closed = await self._listen(pipes)
        self.exit_code = await self._process.wait()
        leftovers = asyncio.create_task(end_session(self.pid, self.uid, SESSION_SECONDS))
        # What it printed last is still in the pipes; a program that it started may keep those open.
        if closed:
            await asyncio.wait(closed, timeout=1)
        self._close_control()
        self.alive = False
        self.on_exit()
        await leftovers

    async def _listen(self, pipes: Pipes) -> list[asyncio.Future[None]]:
        """Begin to read; a process that cannot be read from, for want of descriptors, is killed.

        Returns:
            What is done when standard output and error are closed.
        """
        closed = []
        try:
            for descriptor, is_error in ((pipes.output, False), (pipes.errors, True)):
                _, reader = await read_lines(descriptor, functools.partial(self.on_line, is_error=is_error))
                closed.append(reader.closed)
            self._control, _ = await asyncio.get_running_loop().create_connection(
                lambda: MessageReader(self._on_control_line), sock=pipes.control
            )
        except OSError:
            self.kill()
        return closed

    def _on_control_line(self, line: str) -> None:
        """Take what a process says, until it says what it must not say."""
        if self._control is None:
            return
        try:
            self.on_message(decode(line))
        except ProtocolError as error:
            self._close_control()
            self.on_lie(str(error))

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None


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
