"""Standard output and error of a process, as long as its launcher lives, and also while that does not read them."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import suppress

# Milliseconds that a full pipe may keep whoever prints waiting, before the launcher counts as stopped.
PATIENCE = 2000

PIECE = 65536


class OutputPipe:
    """The pipe to the launcher that standard output or error goes to, or the log while nobody reads that.

    A launcher that is stopped, or that swaps, must not hold up an app that prints.

    Args:
        number: of the descriptor: 1 or 2.
        reading: the pipe's reading end, which the launcher has as well.
        log: a file.

    Attributes:
        diverted: whether what is printed goes to the log.
    """

    def __init__(self, number: int, reading: int, log: int) -> None:
        self.diverted = False
        self._number = number
        self._reading = reading
        self._log = log
        self._pipe = os.dup(number)

    def look(self, control: int) -> None:
        """Divert what is printed if the pipe is full and stays so; put it back once the launcher reads again.

        Args:
            control: a descriptor that is readable when the launcher has ended; then there is nothing to wait for.
        """
        if not self._has_room(control):
            self.diverted = True
            os.dup2(self._log, self._number)
            self._move_to_log()
        elif self.diverted and not self._unread():
            self.diverted = False
            os.dup2(self._pipe, self._number)

    def close(self) -> None:
        """Give the pipe up: there is no launcher any more."""
        os.close(self._pipe)

    def _has_room(self, control: int) -> bool:
        poll = select.poll()
        poll.register(self._pipe, select.POLLOUT)
        poll.register(control, select.POLLIN)
        return bool(poll.poll(0 if self.diverted else PATIENCE))

    def _unread(self) -> int:
        """The bytes in the pipe."""
        return int(struct.unpack("i", fcntl.ioctl(self._reading, termios.FIONREAD, bytes(4)))[0])

    def _move_to_log(self) -> None:
        """Make room for whoever waits for it. One byte stays: when that is gone, the launcher has read it."""
        while (unread := self._unread()) > 1:
            try:
                append(self._log, os.read(self._reading, min(PIECE, unread - 1)))
            except BlockingIOError:  # the launcher was faster
                return


def append(log: int, text: bytes) -> None:
    """Write to the log, as far as the disk has room."""
    with suppress(OSError):
        os.write(log, text)


def limit(log: int, size: int) -> None:
    """Empty the log if it has grown too large, and say so there.

    Whoever shares it goes on at its new end. A launcher would rotate it; it alone may make files beside it.

    Args:
        log: the open file.
        size: bytes that it may have; 0 is no limit.
    """
    if size and os.fstat(log).st_size > size:
        os.ftruncate(log, 0)
        append(
            log, f"Begun anew: what stood here had {size} bytes, and no launcher was there to keep it.\n".encode()
        )
