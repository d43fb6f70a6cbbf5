"""What a person sees: life-cycle events, the workers' own lines with their names in front, tables."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from shiny_sticky.backlog import Backlog
from shiny_sticky.site_log import LAUNCHER, Line, SiteLog

# Bytes that may wait until somebody reads them, and what a line takes of these beside its characters.
ROOM = 16 << 20
LINE_BYTES = 500

# Seconds that the last lines of a launcher get.
FLUSH_SECONDS = 2

PROBLEM = "bold red"

COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta")


class _Console(Console):
    """A console that may go away: a launcher whose terminal or pipe is closed has work to do all the same."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class _Stream:
    """Standard output or standard error, without Python's buffer.

    That has a lock: a thread that is stuck in writing would hold it, and Python does not end without it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.encoding = stream.encoding
        self._descriptor = stream.fileno()

    def write(self, text: str) -> None:
        data = text.encode(self.encoding, errors="backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody who shares it has made it so
                select.select([], [self._descriptor], [])

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor


class Output:
    """Prints to standard output, coloured on a terminal, plain elsewhere.

    Args:
        names: the workers, so that their lines can be aligned and keep a colour each.
        never_waits: print in a thread, and drop what nobody reads: for a program that has more to do than that.

    Attributes:
        log: gets all that is printed, too; None for nothing.
    """

    def __init__(self, names: list[str], never_waits: bool = False) -> None:
        self._backlog = Backlog(ROOM, self._say_dropped) if never_waits else None
        self.log: SiteLog | None = None
        self._console = self._open(sys.stdout)
        self._error_console = self._open(sys.stderr)
        self._width = max((len(name) for name in [*names, "nginx"]), default=0)
        self._colours = {"nginx": "dim"}
        for name in names:
            self._colour_of(name)

    def _open(self, stream: TextIO | None) -> Console:
        """A console; on nothing if the program was started with its stream closed."""
        file = cast(TextIO, _Stream(stream)) if self._backlog and stream is not None else stream
        return _Console(file=file, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def flush(self) -> None:
        """Wait until all is printed, unless nobody reads it."""
        if self._backlog:
            self._backlog.flush(FLUSH_SECONDS)
        if self.log:
            self.log.flush(FLUSH_SECONDS)

    def event(self, text: str, style: str = "bold") -> None:
        """Say what the launcher does or sees."""
        if self.log:
            self.log.write(text, is_error=style == PROBLEM)
        self.print_only(text, style)

    def print_only(self, text: str, style: str = PROBLEM) -> None:
        """Say what cannot be written into the log."""
        self._print(self._console, len(text), lambda: Text(text, style=style))

    def problem(self, text: str) -> None:
        """Say what has gone wrong."""
        self.event(text, style=PROBLEM)

    def warning(self, text: str) -> None:
        """Say what may go wrong."""
        self.event(text, style="bold yellow")

    def relay(self, name: str, line: str, is_error: bool = False) -> None:
        """Print a line of a process's own output, with its name in front.

        Args:
            name: the process's.
            line: without its end.
            is_error: whether it came from standard error; then it goes to ours.
        """
        if self.log:
            self.log.write(line, name, is_error)
        console = self._error_console if is_error else self._console
        self._print(console, len(line), lambda: self._relayed(name, line, is_error))

    def _relayed(self, name: str, line: str, is_error: bool) -> Text:
        prefix = Text(f"{name:<{self._width}} | ", style=self._colour_of(name))
        if is_error:
            prefix.stylize("red", len(prefix) - 2)
        return prefix + Text.from_ansi(line)

    def logged(self, line: Line) -> None:
        """Print a line of a log as it was printed when it was written, with the time in front."""

        def shown() -> Text:
            when = Text(f"{line.time} ", style="dim")
            if line.name == LAUNCHER:
                return when + Text(line.text, style=PROBLEM if line.is_error else "bold")
            return when + self._relayed(line.name, line.text, line.is_error)

        self._print(self._console, len(line.text), shown)

    @property
    def is_read(self) -> bool:
        """Whether there is still somebody who reads standard output, as far as that is known."""
        return not self._console.quiet

    def _colour_of(self, name: str) -> str:
        """A colour that a name keeps from the first time that it is seen."""
        return self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[_Progress]:
        """Keep a line up to date while a block runs; without a terminal it is printed at the start only."""
        if not self._console.is_terminal:
            self.event(text)
            yield _Progress(lambda _: None)
            return
        if self.log:
            self.log.write(text)
        status = self._console.status(Text(text))
        self._do(0, status.start)
        try:
            yield _Progress(lambda text: self._do(0, lambda: status.update(Text(text))))
        finally:
            self._do(0, status.stop)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print rows below the names of their columns."""
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for number, row in enumerate([columns, *rows]):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.event(line.rstrip(), style="" if number else "bold")

    def _print(self, console: Console, size: int, build: Callable[[], Text]) -> None:
        self._do(LINE_BYTES + size, lambda: _print_on(console, build()))

    def _do(self, size: int, action: Callable[[], Any]) -> None:
        """Do something with a console: no thread but the backlog's touches them if there is one."""
        if self._backlog:
            self._backlog.put(size, action)
        else:
            action()

    def _say_dropped(self, lines: int) -> None:
        """Say what is missing here; called in the backlog's thread."""
        text = f"Nobody has read this output for too long: {lines} line{'s' * (lines > 1)} dropped here"
        _print_on(self._console, Text(text, "bold red"))


def _print_on(console: Console, what: Text) -> None:
    try:
        console.print(what)
    except OSError:  # the terminal is gone
        console.quiet = True


class _Progress:
    """The line that is kept up to date.

    Args:
        update: replaces the line.
    """

    def __init__(self, update: Callable[[str], None]) -> None:
        self.update = update
