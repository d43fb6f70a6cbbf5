"""What a person sees: life-cycle events, the workers' own lines with their names in front, tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta")


class _Console(Console):
    """A console that may go away: a launcher whose terminal or pipe is closed has work to do all the same."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Output:
    """Prints to standard output, coloured on a terminal, plain elsewhere.

    Args:
        names: the workers, so that their lines can be aligned and keep a colour each.
    """

    def __init__(self, names: list[str]) -> None:
        self._console = _Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._error_console = _Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._width = max((len(name) for name in [*names, "nginx"]), default=0)
        self._colours = {"nginx": "dim"}
        for name in names:
            self._colour_of(name)

    def event(self, text: str, style: str = "bold") -> None:
        """Say what the launcher does or sees."""
        self._print(Text(text, style=style))

    def problem(self, text: str) -> None:
        """Say what has gone wrong."""
        self.event(text, style="bold red")

    def relay(self, name: str, line: str, is_error: bool = False) -> None:
        """Print a line of a process's own output, with its name in front.

        Args:
            name: the process's.
            line: without its end.
            is_error: whether it came from standard error; then it goes to ours.
        """
        prefix = Text(f"{name:<{self._width}} | ", style=self._colour_of(name))
        if is_error:
            prefix.stylize("red", len(prefix) - 2)
        self._print(prefix + Text.from_ansi(line), self._error_console if is_error else self._console)

    def _colour_of(self, name: str) -> str:
        """A colour that a name keeps from the first time that it is seen."""
        return self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[_Progress]:
        """Keep a line up to date while a block runs; without a terminal it is printed at the start only."""
        if not self._console.is_terminal:
            self.event(text)
            yield _Progress(None)
            return
        with self._console.status(Text(text)) as status:
            yield _Progress(status)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print rows below the names of their columns."""
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for number, row in enumerate([columns, *rows]):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._print(Text(line.rstrip(), style="" if number else "bold"))

    def _print(self, what: Text, console: Console | None = None) -> None:
        console = console or self._console
        try:
            console.print(what)
        except OSError:  # the terminal is gone
            console.quiet = True


class _Progress:
    """The line that is kept up to date."""

    def __init__(self, status: object) -> None:
        self._status = status

    def update(self, text: str) -> None:
        """Replace the line."""
        if self._status is not None:
            self._status.update(Text(text))  # type: ignore[attr-defined]
