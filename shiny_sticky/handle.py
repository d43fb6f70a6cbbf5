"""A running process that is not a child of ours, held so that what is sent to it reaches that process or nobody.

A number alone is another process's once the first has ended, and whoever told it may have lied.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
import weakref

import psutil

# Seconds between two looks at a process whose end nothing tells: not Linux, or no descriptor to be had.
POLL_SECONDS = 0.2

# Why there may be no descriptor of a process that there is: too many are open, or the system has none such.
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS, errno.EPERM)


class Handle:
    """Holds a process: on Linux by a descriptor (pidfd), which is closed with this object; elsewhere by its start.

    Args:
        pid: the process.

    Raises:
        ProcessLookupError: there is none of that number.

    Attributes:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = _open(pid)
        if self._descriptor is not None:
            weakref.finalize(self, os.close, self._descriptor)
        try:
            self._process = psutil.Process(pid)
        except (psutil.Error, ValueError):
            raise ProcessLookupError(f"no process {pid}") from None

    @property
    def parent(self) -> int:
        """The number of its parent; 0 if it has ended."""
        with contextlib.suppress(psutil.Error):
            return self._process.ppid()
        return 0

    def belongs_to(self, uid: int) -> bool:
        """Whether it runs as a user, and neither is nor can become anybody else: real, effective and saved."""
        with contextlib.suppress(psutil.Error):
            return set(self._process.uids()) == {uid}
        return False

    @property
    def ended(self) -> bool:
        """Whether it has ended; its parent may not know yet."""
        if self._descriptor is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(0))
        try:
            return not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended, or may not be signalled by us."""
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                self._process.send_signal(number)

    async def wait(self) -> None:
        """Wait for its end."""
        watched = None
        with contextlib.suppress(OSError):
            watched = None if self._descriptor is None else os.dup(self._descriptor)
        if watched is None:
            while not self.ended:
                await asyncio.sleep(POLL_SECONDS)
            self._reap()
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(watched, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watched)
            os.close(watched)
        self._reap()

    def _reap(self) -> None:
        """Free the number of a dead child that nobody else waits for: one from before a handover (handover.py)."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


def _open(pid: int) -> int | None:
    """A descriptor of a process; None where there are none.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) in NO_DESCRIPTOR:
            return None
        raise ProcessLookupError(f"no process {pid}") from None
