"""What a site has printed, and prints: its log, read from outside."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from shiny_sticky import program
from shiny_sticky.errors import StickyError
from shiny_sticky.log_rotation import youngest_first
from shiny_sticky.output import Output
from shiny_sticky.site_log import LAUNCHER, NAME, WORKERS_LOG, Line

# Seconds between two looks for more: run_dir changes with every request, and the log seldom.
LOOK_SECONDS = 0.2


def show(run_dir: Path, whose: str | None, number: int, follow: bool) -> None:
    """Print the last lines of a site's log, and those to come.

    Args:
        run_dir: the site's.
        whose: a worker, or an app with all of its workers; None is everybody.
        number: how many of the last lines; those of rotated logs are read if need be.
        follow: whether to go on, until the program is ended or nobody reads what it prints.

    Raises:
        StickyError: there is no log, or it is another user's; or nothing in it is that worker's.
    """
    with _opened(run_dir) as log:
        found, names = _last(log, youngest_first(run_dir / NAME)[1:], whose, number)
        if whose and not found and not follow:
            raise StickyError(
                f"Nothing that {whose} has printed is in the logs in {run_dir}. There is something of: "
                f"{', '.join(names)}. What is yet to come: {program.name()} logs -f {whose}"
            )
        output = Output([name for name in names if name != LAUNCHER])
        for line in itertools.chain(found, _following(log, run_dir / NAME, whose) if follow else ()):
            output.logged(line)
            if not output.is_read:
                return
    others = run_dir / WORKERS_LOG
    if _is_younger(others, run_dir / NAME):
        output.event(f"What workers have printed since then, without a launcher to take it, is in {others}")


def _opened(run_dir: Path) -> BinaryIO:
    """The log of a site.

    Raises:
        StickyError: there is none, or it is another user's.
    """
    try:
        return (run_dir / NAME).open("rb")
    except PermissionError:
        raise StickyError(f"The logs in {run_dir} are another user's: sudo {program.again()}") from None
    except OSError:
        raise StickyError(f"No site has run in {run_dir} yet. Start one: {program.name()} app.py") from None


def _is_younger(file: Path, other: Path) -> bool:
    """Whether something has been written to a file after the last line of another one."""
    try:
        return file.stat().st_size > 0 and file.stat().st_mtime > other.stat().st_mtime
    except OSError:  # there is no such file
        return False


def _last(log: BinaryIO, rotated: list[Path], whose: str | None, number: int) -> tuple[deque[Line], list[str]]:
    """The last lines of somebody, from as few files as have so many; and who else has some in these.

    Args:
        log: the open log; it is read to its end.
        rotated: older ones, the youngest first.
        whose: as for :func:`show`.
        number: of lines.
    """
    found: deque[Line] = deque(maxlen=number)
    names: set[str] = set()
    for lines in itertools.chain([_lines(log)], map(_lines_of, rotated)):
        every = list(lines)
        names.update(line.name for line in every)
        wanted = [line for line in every if _is_of(line, whose)]
        found.extendleft(reversed(wanted[len(wanted) - min(len(wanted), number - len(found)) :]))
        if len(found) == number:
            break
    return found, sorted(names, key=_by_number)


def _following(log: BinaryIO, file: Path, whose: str | None) -> Iterator[Line]:
    """Somebody's lines from now on, as they are written; also those of the logs that come after this one."""
    while True:
        newer = _newer(log, file)
        yield from (line for line in _lines(log) if _is_of(line, whose))
        if not newer:
            time.sleep(LOOK_SECONDS)
            continue
        with contextlib.suppress(OSError):  # it is just being rotated
            fresh = newer[-1].open("rb")
            log.close()
            log = fresh


def _newer(log: BinaryIO, file: Path) -> list[Path]:
    """The logs that have been begun since one was opened, the youngest first; all, should it be gone itself."""
    opened = os.fstat(log.fileno())
    return list(itertools.takewhile(lambda each: not _is_same(each, opened), youngest_first(file)))


def _is_same(file: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), found)
    except OSError:  # it is just being rotated
        return False


def _lines_of(file: Path) -> Iterator[Line]:
    try:
        with file.open("rb") as log:
            yield from _lines(log)
    except OSError:  # rotated away meanwhile
        return


def _lines(log: BinaryIO) -> Iterator[Line]:
    """The lines from where a log has been read to; a part of a line, which is just being written, is left."""
    while written := log.readline():
        if not written.endswith(b"\n"):
            log.seek(-len(written), os.SEEK_CUR)
            return
        if line := Line.parse(written.decode(errors="replace")):
            yield line


def _is_of(line: Line, whose: str | None) -> bool:
    return whose is None or re.fullmatch(rf"{re.escape(whose)}\d*", line.name) is not None


def _by_number(name: str) -> tuple[str, int]:
    """Sorts app10 behind app9, so that names get the colours that they have in the launcher."""
    digits = re.search(r"\d*$", name)
    assert digits is not None
    return name.removesuffix(digits[0]), int(digits[0] or 0)
