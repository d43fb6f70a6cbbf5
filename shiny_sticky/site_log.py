"""The log of a site: what its launcher and workers print, a line each, with the time and whose it is.

``2026-11-24 14:30:01 app2 | text``, and ``!`` in place of ``|`` for what went to standard error, or went wrong.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shiny_sticky.backlog import Backlog
from shiny_sticky.log_rotation import rotate_grown

NAME = "site.log"

# What workers print into while no launcher is there to take it.
WORKERS_LOG = "workers.log"

# What the lines of the launcher itself are called.
LAUNCHER = "launcher"

# Bytes that may wait until a slow disk takes them.
ROOM = 16 << 20

# What a line takes of these beside its characters.
LINE_BYTES = 500


@dataclass(frozen=True)
class Line:
    """A line of the log.

    Attributes:
        time: in the machine's time zone, ``2026-11-24 14:30:01``.
        name: whose it is: a worker, an app that is being imported, nginx, or LAUNCHER.
        is_error: whether it went to standard error; of the launcher: whether something has gone wrong.
        text: without its end.
    """

    time: str
    name: str
    is_error: bool
    text: str

    def __str__(self) -> str:
        return f"{self.time} {self.name} {'!' if self.is_error else '|'} {self.text}\n"

    @classmethod
    def parse(cls, written: str) -> Line | None:
        """The line that a text is; None if it is none: a full disk has cut it off."""
        found = re.fullmatch(r"(\S+ \S+) (\S+) ([|!]) (.*)", written.removesuffix("\n"), re.DOTALL)
        return found and cls(found[1], found[2], found[3] == "!", found[4])


class SiteLog:
    """Writes the log, in a thread; whoever has a line written never waits, whatever the disk does.

    Args:
        file: the log; made, and closed to other users.
        max_size: bytes at which it is rotated; None is never.
        keep: how many rotated ones there may be.
        report: told, once, why nothing can be written.
    """

    def __init__(self, file: Path, max_size: int | None, keep: int, report: Callable[[str], None]) -> None:
        self._file = file
        self._report = report
        self._told = False
        self._cut_off = False  # whether there is a part of a line at the end
        self._descriptor: int | None = None
        self._backlog = Backlog(ROOM, lambda lines: self._append(self._line(f"{lines} lines dropped here")))
        self.limit(max_size, keep)

    def limit(self, max_size: int | None, keep: int) -> None:
        """Change the limits; see the class."""
        self._max_size, self._keep = max_size, keep

    def write(self, text: str, name: str = LAUNCHER, is_error: bool = False) -> None:
        """Have a text written, each of its lines as one of the log: nobody's text can pass for somebody else's."""
        for each in text.split("\n"):
            line = self._line(each, name, is_error)
            self._backlog.put(len(each) + LINE_BYTES, functools.partial(self._append, line))

    def flush(self, timeout: float) -> None:
        """Wait until all is written.

        Args:
            timeout: seconds that it may take.
        """
        self._backlog.flush(timeout)

    @staticmethod
    def _line(text: str, name: str = LAUNCHER, is_error: bool = True) -> Line:
        return Line(time.strftime("%Y-%m-%d %H:%M:%S"), name, is_error, text)

    def _append(self, line: Line) -> None:
        try:
            self._write(str(line).encode(errors="backslashreplace"))
            self._told = False
        except OSError as error:
            if not self._told:
                self._told = True
                self._report(f"{self._file} cannot be written: {error.strerror}. What is printed is lost there.")

    def _write(self, data: bytes) -> None:
        """Write a line, or as much of it as there is room for; go on in a new file if this one is large or gone.

        Raises:
            OSError: the disk is full, say.
        """
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._file, flags, 0o600)
        data = b"\n" * self._cut_off + data
        written = os.write(self._descriptor, data)
        self._cut_off = written < len(data)
        if self._cut_off:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if rotate_grown([self._file], self._max_size, self._keep) or not os.fstat(self._descriptor).st_nlink:
            os.close(self._descriptor)
            self._descriptor = None
