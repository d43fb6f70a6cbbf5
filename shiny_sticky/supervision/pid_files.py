"""Whose a pid file is: the process's that holds its lock, as the kernel says.

What is written in it is for people to read: an app has its processes' pid files open, and may write there what it
likes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
from pathlib import Path

from shiny_sticky.handle import Handle

# struct flock of fcntl(2), and the places of the kind of lock and of the holder's pid in it.
FLOCK, KIND, HOLDER = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi", 0, 4)
FREE = [0] * 5
FREE[KIND] = fcntl.F_WRLCK


def locked_by(descriptor: int) -> int:
    """The pid of another process that holds a lock of fcntl(2) on an open file.

    Such a lock is the process's own: it ends with that, forks do not inherit it, and the kernel tells whose it is.

    Returns:
        0 if there is none; below 0 if the lock is of the kind that no single process has.
    """
    answer = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(FLOCK, *FREE)))
    return 0 if answer[KIND] == fcntl.F_UNLCK else int(answer[HOLDER]) or -1


def open_locked(file: Path) -> int | None:
    """Open a pid file, make it if it is missing, and lock it as this process's own.

    Returns:
        The descriptor, with which the lock ends; None if another process has the lock.

    Raises:
        OSError: it cannot be opened: a folder, say.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Whoever had it may have removed the file between our open and our lock. Such a lock protects nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)


class PidFile:
    """The pid file of a process that may be running.

    Args:
        file: its path.

    Raises:
        OSError: it is no file, or cannot be opened.

    Attributes:
        holder: the process that has locked it, which runs as the user whose file it is; None if there is none.
        text: what is written in it.
    """

    def __init__(self, file: Path) -> None:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no file", str(file))
            self.holder = _holder(descriptor, found.st_uid)
            self.text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        finally:
            os.close(descriptor)


def _holder(descriptor: int, uid: int) -> Handle | None:
    """The process of a user that holds the lock on an open file; None if there is none."""
    try:
        holder = Handle(locked_by(descriptor))
    except ProcessLookupError:
        return None
    # Asked again, now that the number cannot come to mean another process.
    return holder if locked_by(descriptor) == holder.pid and holder.belongs_to(uid) else None
