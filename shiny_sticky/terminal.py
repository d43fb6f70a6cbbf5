"""The terminal that this program was started on, if it was."""

from __future__ import annotations

import os
import signal
import sys

# Whether this program was started by nohup, or in another way so that it does not end with its terminal.
OUTLIVES = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def is_used() -> bool:
    """Whether a person at a terminal started this program, and sees what it prints or types what it reads."""
    return any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def ends_us() -> bool:
    """Whether this program is to end with its terminal: it has one, and nohup has not said otherwise.

    To be asked at the start: once a terminal is closed, its programs have none.
    """
    if OUTLIVES:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
