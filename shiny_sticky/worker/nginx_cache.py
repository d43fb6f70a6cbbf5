"""What nginx keeps: the files of its cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

# The key stands in the first bytes of a file, behind a header of some hundred.
HEAD = 8192


# Bytes that are left free for what else is written at that moment.
RESERVE = 4 << 20


def has_room(folder: Path, size: int) -> bool:
    """Whether the disk takes a file. nginx writes first what it is to keep: on a full disk it would send nothing.

    Args:
        folder: on that disk; the process may write to it.
        size: of the file, in bytes.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            if hasattr(os, "posix_fallocate"):  # knows of quotas and limits, too
                os.posix_fallocate(probe.fileno(), 0, size + RESERVE)
                return True
        return shutil.disk_usage(folder).free >= size + RESERVE
    except OSError:
        return False


def is_current(link: str, incarnation: str) -> bool:
    """Whether a process serves now: of an earlier one that still answers what it was asked, nothing is to be kept.

    Args:
        link: by which nginx finds the worker's socket. A deploy turns it, before the process itself knows of that.
        incarnation: the process's name; its socket is called like it.
    """
    try:
        return Path(link).readlink().name == f"{incarnation}.sock"
    except OSError:  # a deploy has removed the worker
        return False


def forget(cache: Path, names: set[str]) -> None:
    """Remove what nginx keeps below folders, so that it asks for that again.

    Args:
        cache: nginx's folder.
        names: of the folders in URLs, such as ``jquery-3.6.0``.
    """
    wanted = [f"/{name}/".encode() for name in names]
    for folder, _, files in os.walk(cache):
        for file in files:
            path = Path(folder, file)
            with suppress(OSError):  # nginx has removed it, or is another user
                with path.open("rb") as stream:
                    key = stream.read(HEAD).partition(b"\nKEY: ")[2].partition(b"\n")[0]
                if any(name in key for name in wanted):
                    path.unlink()
