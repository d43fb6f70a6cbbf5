"""Waiting for what takes a moment, and what is asked meanwhile."""

from __future__ import annotations

import collections
import contextlib
import random
import socket
import time
from pathlib import Path

import psutil

# Seconds for what is waited for. It is there in an instant, but on a busy machine; promised times have their own.
PATIENCE = 60


# Below those that the system hands out to clients, so that none takes a test's port before the test does.
PORTS = range(10_000, 32_000)

# Sockets by which the processes that run tests on this machine tell each other which ports they have chosen last:
# it may be a while until one is used. Those of UDP have the same numbers, and nothing here uses them.
_chosen: collections.deque[socket.socket] = collections.deque(maxlen=64)


def free_port() -> int:
    """A port that nobody uses, and that no other test chooses before it is in use."""
    while True:
        port = random.choice(PORTS)
        mark = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe, contextlib.suppress(OSError):
            mark.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            _chosen.append(mark)
            return port
        mark.close()


def until(condition, what: str, timeout: float = PATIENCE):
    """Ask again and again until something is true; give what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return result


def running(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(socket_file: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_file)) == 0
