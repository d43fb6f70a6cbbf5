"""A right that nginx and the launcher may have, and no app needs: to open ports below 1024.

A service has it of systemd (AmbientCapabilities), and all that it starts has it, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# capabilities(7), and capget(2) with sets of 64 bits in two words each.
NET_BIND_SERVICE = 1 << 10
VERSION = 0x20080522


def give_up_ports() -> None:
    """Give that right up for good, unless this process is root's. To be called before there are threads."""
    if sys.platform != "linux" or os.geteuid() == 0 or not _permitted() & NET_BIND_SERVICE:
        return
    import ctypes  # few need it

    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)  # 0 is this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper words
    libc.capget(header, sets)
    sets[:3] = [each & ~NET_BIND_SERVICE for each in sets[:3]]
    libc.capset(header, sets)


def _permitted() -> int:
    """The capabilities that this process may use."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
