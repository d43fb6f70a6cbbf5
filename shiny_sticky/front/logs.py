"""nginx's logs, rotated once they have grown."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

LOGS = ("nginx-access.log", "nginx-error.log")


def rotate_grown(folder: Path, max_size: int | None, keep: int) -> bool:
    """Rotate those logs that have grown too large; nginx goes on in the old ones until it is told to reopen them.

    Args:
        folder: run_dir.
        max_size: bytes that a log may have; None is no limit.
        keep: how many rotated ones there may be of each: ``nginx-access.log.1`` is the youngest.

    Returns:
        Whether there was one.

    Raises:
        OSError: a file cannot be made or renamed.
    """
    if max_size is None:
        return False
    logs = [folder / name for name in LOGS]
    grown = [log for log in logs if log.is_file() and log.stat().st_size >= max_size]
    for log in grown:
        _rotate(log, keep)
    return bool(grown)


def _rotate(log: Path, keep: int) -> None:
    """Put an empty file in a log's place, and the log in that of the youngest rotated one."""
    fresh = _empty_one_like(log)
    ages = [log, *(log.with_name(f"{log.name}.{age}") for age in range(1, keep + 1))]
    for newer, older in reversed(list(itertools.pairwise(ages))):
        if newer.exists():
            newer.replace(older)
    fresh.replace(log)


def _empty_one_like(log: Path) -> Path:
    """A new file beside a log, with its owner and mode."""
    fresh = log.with_name(f".{log.name}.new")
    fresh.unlink(missing_ok=True)
    found = log.stat()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, found.st_uid, found.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o666)
    finally:
        os.close(descriptor)
    return fresh
