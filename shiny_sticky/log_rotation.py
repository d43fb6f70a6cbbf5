"""Logs, rotated once they have grown: ``x.log.1`` is the youngest of the older ones."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from shiny_sticky import private_files


def rotate_grown(logs: Iterable[Path], max_size: int | None, keep: int) -> bool:
    """Rotate those logs that have grown too large; whoever has one open goes on in the old file until told.

    Args:
        logs: the files; those that are missing are left out.
        max_size: bytes that a log may have; None is no limit.
        keep: how many rotated ones there may be of each.

    Returns:
        Whether there was one.

    Raises:
        OSError: a file cannot be made or renamed.
    """
    grown = [log for log in logs if _has_grown(log, max_size)]
    for log in grown:
        fresh = _empty_one_like(log)
        _shift([log, *_rotated(log, keep)])
        fresh.replace(log)
    return bool(grown)


def copy_grown(log: Path, max_size: int | None, keep: int) -> None:
    """Rotate a log that others have open, and that they cannot be told to open anew: it is copied, then emptied.

    What is written between these two steps is lost.

    Args:
        log: the file; it may be missing.
        max_size: bytes that it may have; None is no limit.
        keep: how many rotated ones there may be.

    Raises:
        OSError: a file cannot be made or renamed.
    """
    if not _has_grown(log, max_size):
        return
    if rotated := _rotated(log, keep):
        copy = _empty_one_like(log)
        shutil.copyfile(log, copy)
        _shift(rotated)
        copy.replace(rotated[0])
    os.truncate(log, 0)


def youngest_first(log: Path) -> list[Path]:
    """A log and its rotated ones, as far as they exist."""
    ages = (int(age) for file in log.parent.glob(f"{log.name}.*") if (age := file.suffix[1:]).isdecimal())
    return [file for file in (log, *_rotated(log, max(ages, default=0))) if file.exists()]


def _rotated(log: Path, keep: int) -> list[Path]:
    """What the rotated ones of a log are called, the youngest first."""
    return [log.with_name(f"{log.name}.{age}") for age in range(1, keep + 1)]


def _shift(ages: list[Path]) -> None:
    """Let each file take the place of the next older one; the last of these goes."""
    for newer, older in reversed(list(itertools.pairwise(ages))):
        if newer.exists():
            newer.replace(older)


def _empty_one_like(log: Path) -> Path:
    """A new file beside a log, with its owner and mode."""
    fresh = log.with_name(f".{log.name}.new")
    found = log.stat()
    descriptor = private_files.create(fresh)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, found.st_uid, found.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o666)
    finally:
        os.close(descriptor)
    return fresh


def _has_grown(log: Path, max_size: int | None) -> bool:
    return max_size is not None and log.is_file() and log.stat().st_size >= max_size
